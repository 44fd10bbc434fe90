SELECT pg_catalog.set_config('search_path', '', false);
CREATE EXTENSION IF NOT EXISTS vector WITH SCHEMA public;
COMMENT ON EXTENSION vector IS 'vector data type and ivfflat and hnsw access methods';
CREATE TABLE public.account (
    id integer NOT NULL,
    name character varying NOT NULL,
    role character varying NOT NULL,
    password character varying NOT NULL,
    created timestamp with time zone NOT NULL,
    disabled boolean NOT NULL
);
CREATE SEQUENCE public.account_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.account_id_seq OWNED BY public.account.id;
CREATE TABLE public.audit (
    id integer NOT NULL,
    created timestamp with time zone NOT NULL,
    account character varying NOT NULL,
    action character varying NOT NULL,
    subject character varying NOT NULL,
    details json NOT NULL
);
CREATE SEQUENCE public.audit_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.audit_id_seq OWNED BY public.audit.id;
CREATE TABLE public.change (
    id integer NOT NULL,
    vehicle_id integer NOT NULL
);
CREATE SEQUENCE public.change_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.change_id_seq OWNED BY public.change.id;
CREATE TABLE public.embedding (
    id integer NOT NULL,
    model_id integer NOT NULL,
    library character varying NOT NULL,
    view_id integer NOT NULL,
    vector public.vector NOT NULL
);
CREATE SEQUENCE public.embedding_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.embedding_id_seq OWNED BY public.embedding.id;
CREATE TABLE public.imported (
    digest character varying NOT NULL,
    owner character varying NOT NULL,
    vehicle_id integer NOT NULL
);
CREATE TABLE public.incident (
    id integer NOT NULL,
    sighting_id integer,
    vehicle_id integer,
    kind character varying NOT NULL,
    note character varying NOT NULL,
    closed timestamp with time zone,
    account character varying NOT NULL,
    created timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.incident_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.incident_id_seq OWNED BY public.incident.id;
CREATE TABLE public.model (
    id integer NOT NULL,
    digest character varying NOT NULL,
    libraries json NOT NULL,
    origin character varying NOT NULL,
    created timestamp with time zone NOT NULL,
    thresholds json NOT NULL
);
CREATE SEQUENCE public.model_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.model_id_seq OWNED BY public.model.id;
CREATE TABLE public.owner (
    id integer NOT NULL,
    name character varying NOT NULL,
    flat character varying NOT NULL,
    contact character varying NOT NULL,
    created timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.owner_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.owner_id_seq OWNED BY public.owner.id;
CREATE TABLE public.plate (
    vehicle_id integer NOT NULL,
    text character varying NOT NULL,
    normal character varying NOT NULL
);
CREATE TABLE public.setting (
    name character varying NOT NULL,
    value character varying NOT NULL
);
CREATE TABLE public.shown (
    id integer NOT NULL,
    account character varying NOT NULL,
    sighting_id integer NOT NULL,
    vehicle_id integer,
    picture character varying
);
CREATE SEQUENCE public.shown_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.shown_id_seq OWNED BY public.shown.id;
CREATE TABLE public.sighting (
    id integer NOT NULL,
    vehicle_id integer,
    decision character varying NOT NULL,
    answer json NOT NULL,
    pictures json NOT NULL,
    account character varying NOT NULL,
    created timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.sighting_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.sighting_id_seq OWNED BY public.sighting.id;
CREATE TABLE public.ticket (
    id integer NOT NULL,
    account_id integer NOT NULL,
    digest character varying NOT NULL,
    kind character varying NOT NULL,
    label character varying NOT NULL,
    expires timestamp with time zone NOT NULL,
    created timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.ticket_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.ticket_id_seq OWNED BY public.ticket.id;
CREATE TABLE public.ticket_use (
    ticket_id integer NOT NULL,
    used timestamp with time zone NOT NULL
);
CREATE TABLE public.vehicle (
    id integer NOT NULL,
    owner_id integer,
    note character varying NOT NULL,
    created timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.vehicle_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.vehicle_id_seq OWNED BY public.vehicle.id;
CREATE TABLE public.view (
    id integer NOT NULL,
    vehicle_id integer NOT NULL,
    picture character varying NOT NULL,
    vehicle_box json,
    plate_picture character varying,
    plate_box json,
    modality character varying NOT NULL,
    created timestamp with time zone NOT NULL
);
CREATE SEQUENCE public.view_id_seq
    AS integer
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;
ALTER SEQUENCE public.view_id_seq OWNED BY public.view.id;
ALTER TABLE ONLY public.account ALTER COLUMN id SET DEFAULT nextval('public.account_id_seq'::regclass);
ALTER TABLE ONLY public.audit ALTER COLUMN id SET DEFAULT nextval('public.audit_id_seq'::regclass);
ALTER TABLE ONLY public.change ALTER COLUMN id SET DEFAULT nextval('public.change_id_seq'::regclass);
ALTER TABLE ONLY public.embedding ALTER COLUMN id SET DEFAULT nextval('public.embedding_id_seq'::regclass);
ALTER TABLE ONLY public.incident ALTER COLUMN id SET DEFAULT nextval('public.incident_id_seq'::regclass);
ALTER TABLE ONLY public.model ALTER COLUMN id SET DEFAULT nextval('public.model_id_seq'::regclass);
ALTER TABLE ONLY public.owner ALTER COLUMN id SET DEFAULT nextval('public.owner_id_seq'::regclass);
ALTER TABLE ONLY public.shown ALTER COLUMN id SET DEFAULT nextval('public.shown_id_seq'::regclass);
ALTER TABLE ONLY public.sighting ALTER COLUMN id SET DEFAULT nextval('public.sighting_id_seq'::regclass);
ALTER TABLE ONLY public.ticket ALTER COLUMN id SET DEFAULT nextval('public.ticket_id_seq'::regclass);
ALTER TABLE ONLY public.vehicle ALTER COLUMN id SET DEFAULT nextval('public.vehicle_id_seq'::regclass);
ALTER TABLE ONLY public.view ALTER COLUMN id SET DEFAULT nextval('public.view_id_seq'::regclass);
INSERT INTO public.account VALUES (1, 'porter', 'guard', '$argon2id$v=19$m=65536,t=3,p=4$ng0Vr7XdIBMkfNv6vN4kKA$8ICwm7Jkx3qPX2XFQv0OChVkGD69FLSEnfyMI4T+cWc', '2026-11-29 00:07:26.985582+00', false);
INSERT INTO public.audit VALUES (1, '2026-11-29 00:07:24.585595+00', 'operator', 'add model', 'model 0b21853d139b1389', '{"origin": "checkpoints, dual"}');
INSERT INTO public.audit VALUES (2, '2026-11-29 00:07:24.788986+00', 'operator', 'serve model', 'model 0b21853d139b1389', '{"before": "0b21853d139b1389"}');
INSERT INTO public.audit VALUES (3, '2026-11-29 00:07:24.831692+00', 'operator', 'set thresholds', 'model 0b21853d139b1389', '{"fused": {"match": 0.99999, "unsure": 0.999, "margin": 0.0}, "plate": {"match": 0.99999, "unsure": 0.999, "margin": 0.0}, "vehicle": {"match": 0.99999, "unsure": 0.999, "margin": 0.0}}');
INSERT INTO public.audit VALUES (4, '2026-11-29 00:07:25.197455+00', 'operator', 'enrol', 'vehicle 1', '{"owner": 1, "views": 1}');
INSERT INTO public.audit VALUES (5, '2026-11-29 00:07:25.305717+00', 'operator', 'enrol', 'vehicle 2', '{"owner": 2, "views": 1}');
INSERT INTO public.audit VALUES (6, '2026-11-29 00:07:26.993504+00', 'operator', 'add account', 'account 1', '{"role": "guard"}');
INSERT INTO public.audit VALUES (7, '2026-11-29 00:07:27.175028+00', 'porter', 'identify', 'sighting 1', '{"decision": "match", "shown": [1, 2]}');
INSERT INTO public.audit VALUES (8, '2026-11-29 00:07:27.305792+00', 'porter', 'identify', 'sighting 2', '{"decision": "match", "shown": [1, 2]}');
INSERT INTO public.change VALUES (1, 1);
INSERT INTO public.change VALUES (2, 2);
INSERT INTO public.embedding VALUES (1, 1, 'fused', 1, '[-0.1877576,-0.102706,0.23013678,-0.07905657,0.33901218,0.23770879,-0.46495974,-0.08581041,0.40830043,-0.08376042,0.26075822,-0.41192758,-0.21433757,0.023294669,0.16859724,-0.116993986]');
INSERT INTO public.embedding VALUES (2, 1, 'plate', 1, '[0.577424,-0.11845512,0.3687678,-0.58255357,-0.3031191,0.032943636,0.2384325,-0.16545448]');
INSERT INTO public.embedding VALUES (3, 1, 'vehicle', 1, '[-0.26552933,-0.14524822,0.32546255,-0.11180287,0.4794356,0.336171,-0.65755236,-0.12135424]');
INSERT INTO public.embedding VALUES (4, 1, 'fused', 2, '[-0.18396987,-0.0934976,0.22998577,-0.08118313,0.33920944,0.23094714,-0.47019967,-0.09187954,0.40538996,-0.07854068,0.27408448,-0.4089121,-0.21106245,0.018188829,0.16914862,-0.116916716]');
INSERT INTO public.embedding VALUES (5, 1, 'plate', 2, '[0.57330793,-0.111073285,0.38761395,-0.578289,-0.29848734,0.025722886,0.23921224,-0.16534519]');
INSERT INTO public.embedding VALUES (6, 1, 'vehicle', 2, '[-0.26017267,-0.13222556,0.32524896,-0.11481027,0.47971454,0.32660854,-0.6649627,-0.12993728]');
INSERT INTO public.model VALUES (1, '0b21853d139b1389', '["fused", "plate", "vehicle"]', 'checkpoints, dual', '2026-11-29 00:07:24.5786+00', '{"fused": {"match": 0.99999, "unsure": 0.999, "margin": 0.0}, "plate": {"match": 0.99999, "unsure": 0.999, "margin": 0.0}, "vehicle": {"match": 0.99999, "unsure": 0.999, "margin": 0.0}}');
INSERT INTO public.owner VALUES (1, 'owner 0', '0', '', '2026-11-29 00:07:25.174136+00');
INSERT INTO public.owner VALUES (2, 'owner 1', '1', '', '2026-11-29 00:07:25.293661+00');
INSERT INTO public.plate VALUES (1, 'FR 0', 'FR0');
INSERT INTO public.plate VALUES (2, 'FR 1', 'FR1');
INSERT INTO public.setting VALUES ('version', '1');
INSERT INTO public.setting VALUES ('id', '8e353a110a384b9fafe337568990686d');
INSERT INTO public.setting VALUES ('model', '0b21853d139b1389');
INSERT INTO public.shown VALUES (1, 'porter', 1, 1, NULL);
INSERT INTO public.shown VALUES (2, 'porter', 1, 2, NULL);
INSERT INTO public.shown VALUES (3, 'porter', 1, NULL, '69343e3800aa4687a7f121aa791840a6.jpg');
INSERT INTO public.shown VALUES (4, 'porter', 1, NULL, 'b3efd43e05a1446f9df60353536b688d.jpg');
INSERT INTO public.shown VALUES (5, 'porter', 2, 1, NULL);
INSERT INTO public.shown VALUES (6, 'porter', 2, 2, NULL);
INSERT INTO public.shown VALUES (7, 'porter', 2, NULL, '347bc675baeb4d6b99bde799e95eec0d.jpg');
INSERT INTO public.shown VALUES (8, 'porter', 2, NULL, 'f5491d4895f94ce1807411f2c91370fb.jpg');
INSERT INTO public.sighting VALUES (1, 1, 'match', '{"decision": "match", "vehicle": 1, "decided_by": "fused", "similarity": 1.0, "threshold": 0.99999, "runner_up": {"vehicle": 2, "similarity": 0.9998}, "margin": 0.0002, "candidates": {"fused": [{"vehicle": 1, "similarity": 1.0, "view": 1}, {"vehicle": 2, "similarity": 0.9998, "view": 2}], "plate": [{"vehicle": 1, "similarity": 1.0, "view": 1}, {"vehicle": 2, "similarity": 0.9997, "view": 2}], "vehicle": [{"vehicle": 1, "similarity": 1.0, "view": 1}, {"vehicle": 2, "similarity": 0.9998, "view": 2}]}, "plate_text": null}', '["69343e3800aa4687a7f121aa791840a6.jpg", "b3efd43e05a1446f9df60353536b688d.jpg"]', 'porter', '2026-11-29 00:07:27.161771+00');
INSERT INTO public.sighting VALUES (2, 2, 'match', '{"decision": "match", "vehicle": 2, "decided_by": "fused", "similarity": 1.0, "threshold": 0.99999, "runner_up": {"vehicle": 1, "similarity": 0.9998}, "margin": 0.0002, "candidates": {"fused": [{"vehicle": 2, "similarity": 1.0, "view": 2}, {"vehicle": 1, "similarity": 0.9998, "view": 1}], "plate": [{"vehicle": 2, "similarity": 1.0, "view": 2}, {"vehicle": 1, "similarity": 0.9997, "view": 1}], "vehicle": [{"vehicle": 2, "similarity": 1.0, "view": 2}, {"vehicle": 1, "similarity": 0.9998, "view": 1}]}, "plate_text": null}', '["347bc675baeb4d6b99bde799e95eec0d.jpg", "f5491d4895f94ce1807411f2c91370fb.jpg"]', 'porter', '2026-11-29 00:07:27.298231+00');
INSERT INTO public.vehicle VALUES (1, 1, '', '2026-11-29 00:07:25.177263+00');
INSERT INTO public.vehicle VALUES (2, 2, '', '2026-11-29 00:07:25.297084+00');
INSERT INTO public.view VALUES (1, 1, '1ef8ec27d1914f6890e526dc96b70e4b.jpg', 'null', '3819519b8c364df5bc2b6aca415f93c5.jpg', 'null', 'visible', '2026-11-29 00:07:25.193582+00');
INSERT INTO public.view VALUES (2, 2, 'ebdff1c09a3a47ab82f3b49263c44050.jpg', 'null', 'a606dbfa68bd4ef8b38eab093c6c6d63.jpg', 'null', 'visible', '2026-11-29 00:07:25.301064+00');
SELECT pg_catalog.setval('public.account_id_seq', 1, true);
SELECT pg_catalog.setval('public.audit_id_seq', 8, true);
SELECT pg_catalog.setval('public.change_id_seq', 2, true);
SELECT pg_catalog.setval('public.embedding_id_seq', 6, true);
SELECT pg_catalog.setval('public.incident_id_seq', 1, false);
SELECT pg_catalog.setval('public.model_id_seq', 1, true);
SELECT pg_catalog.setval('public.owner_id_seq', 2, true);
SELECT pg_catalog.setval('public.shown_id_seq', 8, true);
SELECT pg_catalog.setval('public.sighting_id_seq', 2, true);
SELECT pg_catalog.setval('public.ticket_id_seq', 1, false);
SELECT pg_catalog.setval('public.vehicle_id_seq', 2, true);
SELECT pg_catalog.setval('public.view_id_seq', 2, true);
ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_name_key UNIQUE (name);
ALTER TABLE ONLY public.account
    ADD CONSTRAINT account_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.audit
    ADD CONSTRAINT audit_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.change
    ADD CONSTRAINT change_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.embedding
    ADD CONSTRAINT embedding_model_id_library_view_id_key UNIQUE (model_id, library, view_id);
ALTER TABLE ONLY public.embedding
    ADD CONSTRAINT embedding_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.imported
    ADD CONSTRAINT imported_pkey PRIMARY KEY (digest);
ALTER TABLE ONLY public.incident
    ADD CONSTRAINT incident_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.model
    ADD CONSTRAINT model_digest_key UNIQUE (digest);
ALTER TABLE ONLY public.model
    ADD CONSTRAINT model_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.owner
    ADD CONSTRAINT owner_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.plate
    ADD CONSTRAINT plate_normal_key UNIQUE (normal);
ALTER TABLE ONLY public.plate
    ADD CONSTRAINT plate_pkey PRIMARY KEY (vehicle_id);
ALTER TABLE ONLY public.setting
    ADD CONSTRAINT setting_pkey PRIMARY KEY (name);
ALTER TABLE ONLY public.shown
    ADD CONSTRAINT shown_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.sighting
    ADD CONSTRAINT sighting_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.ticket
    ADD CONSTRAINT ticket_digest_key UNIQUE (digest);
ALTER TABLE ONLY public.ticket
    ADD CONSTRAINT ticket_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.ticket_use
    ADD CONSTRAINT ticket_use_pkey PRIMARY KEY (ticket_id);
ALTER TABLE ONLY public.vehicle
    ADD CONSTRAINT vehicle_pkey PRIMARY KEY (id);
ALTER TABLE ONLY public.view
    ADD CONSTRAINT view_pkey PRIMARY KEY (id);
CREATE INDEX ix_embedding_view_id ON public.embedding USING btree (view_id);
CREATE INDEX ix_imported_owner ON public.imported USING btree (owner);
CREATE INDEX ix_imported_vehicle_id ON public.imported USING btree (vehicle_id);
CREATE INDEX ix_incident_vehicle_id ON public.incident USING btree (vehicle_id);
CREATE INDEX ix_shown_sighting_id ON public.shown USING btree (sighting_id);
CREATE INDEX ix_shown_vehicle_id ON public.shown USING btree (vehicle_id);
CREATE INDEX ix_sighting_vehicle_id ON public.sighting USING btree (vehicle_id);
CREATE INDEX ix_ticket_account_id ON public.ticket USING btree (account_id);
CREATE INDEX ix_vehicle_owner_id ON public.vehicle USING btree (owner_id);
CREATE INDEX ix_view_vehicle_id ON public.view USING btree (vehicle_id);
CREATE INDEX shown_picture ON public.shown USING btree (account, picture);
CREATE INDEX shown_vehicle ON public.shown USING btree (account, vehicle_id);
ALTER TABLE ONLY public.embedding
    ADD CONSTRAINT embedding_model_id_fkey FOREIGN KEY (model_id) REFERENCES public.model(id);
ALTER TABLE ONLY public.embedding
    ADD CONSTRAINT embedding_view_id_fkey FOREIGN KEY (view_id) REFERENCES public.view(id);
ALTER TABLE ONLY public.imported
    ADD CONSTRAINT imported_vehicle_id_fkey FOREIGN KEY (vehicle_id) REFERENCES public.vehicle(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.incident
    ADD CONSTRAINT incident_sighting_id_fkey FOREIGN KEY (sighting_id) REFERENCES public.sighting(id);
ALTER TABLE ONLY public.incident
    ADD CONSTRAINT incident_vehicle_id_fkey FOREIGN KEY (vehicle_id) REFERENCES public.vehicle(id);
ALTER TABLE ONLY public.plate
    ADD CONSTRAINT plate_vehicle_id_fkey FOREIGN KEY (vehicle_id) REFERENCES public.vehicle(id);
ALTER TABLE ONLY public.shown
    ADD CONSTRAINT shown_sighting_id_fkey FOREIGN KEY (sighting_id) REFERENCES public.sighting(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.shown
    ADD CONSTRAINT shown_vehicle_id_fkey FOREIGN KEY (vehicle_id) REFERENCES public.vehicle(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.sighting
    ADD CONSTRAINT sighting_vehicle_id_fkey FOREIGN KEY (vehicle_id) REFERENCES public.vehicle(id);
ALTER TABLE ONLY public.ticket
    ADD CONSTRAINT ticket_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.account(id);
ALTER TABLE ONLY public.ticket_use
    ADD CONSTRAINT ticket_use_ticket_id_fkey FOREIGN KEY (ticket_id) REFERENCES public.ticket(id) ON DELETE CASCADE;
ALTER TABLE ONLY public.vehicle
    ADD CONSTRAINT vehicle_owner_id_fkey FOREIGN KEY (owner_id) REFERENCES public.owner(id);
ALTER TABLE ONLY public.view
    ADD CONSTRAINT view_vehicle_id_fkey FOREIGN KEY (vehicle_id) REFERENCES public.vehicle(id);
