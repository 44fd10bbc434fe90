"""The page of an equalisation's report, as a template of Jinja2. In a module, as Flower carries no other files to a client."""

# ruff: noqa: E501

PAGE = """\
{% macro thumbnail(shown) %}{% if shown.uri %}<img src="{{ shown.uri }}" alt="{{ shown.alt }}">{% else %}<span class="none">{{ shown.alt }}</span>{% endif %}{% endmacro %}
{% macro examples(pairs) %}
<ul class="pairs">
  {% for pair in pairs %}
  <li>
    <div>{{ thumbnail(pair.own) }}{{ thumbnail(pair.made) }}</div>
    vehicle {{ pair.pid }}, cosine {{ pair.cosine }}
  </li>
  {% endfor %}
</ul>
{% endmacro %}
{% macro list(warnings) %}
<ul>
  {% for warning in warnings %}
  <li>{{ warning }}</li>
  {% endfor %}
</ul>
{% endmacro %}
<!doctype html>
<html lang="en">
<head>
  <meta charset="utf-8">
  <meta name="viewport" content="width=device-width, initial-scale=1">
  <meta name="color-scheme" content="light dark">
  <meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'">
  <title>Equalisation: {{ title }}</title>
  <style>
    :root { --ground: #fff; --text: #1b1b1b; --faint: #5a5a5a; --line: #c4c4c4; --warn: #8a5a00; --panel: #f3f5f7; }
    @media (prefers-color-scheme: dark) {
      :root { --ground: #14171a; --text: #ececec; --faint: #aab0b6; --line: #454b52; --warn: #f0c05a; --panel: #1f2429; }
    }
    * { box-sizing: border-box; }
    body { margin: 0; background: var(--ground); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
    main { max-width: 80rem; margin: 0 auto; padding: 1rem; }
    h1 { font-size: 1.5rem; }
    h2 { font-size: 1.2rem; margin-top: 2rem; }
    .stay { padding: .75rem; border: 2px solid var(--warn); border-radius: .4rem; background: var(--panel); }
    .faint { color: var(--faint); }
    .scroll { overflow-x: auto; }
    table { border-collapse: collapse; }
    caption { text-align: left; color: var(--faint); }
    th, td { text-align: left; padding: .4rem .75rem .4rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
    tbody th { font-weight: 400; }
    .path { overflow-wrap: anywhere; min-width: 12rem; }
    img { vertical-align: top; border-radius: .2rem; min-width: 3.5rem; }
    img.wide { width: 100%; background: #fff; }
    .none { display: inline-flex; width: 7rem; height: 5rem; align-items: center; justify-content: center; color: var(--faint);
      border: 1px dashed var(--line); border-radius: .2rem; font-size: .85rem; }
    .pairs { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 1rem; }
    .pairs div { display: flex; gap: .25rem; align-items: flex-end; }
  </style>
</head>
<body>
<main>
  <h1>Equalisation: {{ title }}</h1>
  <p class="stay"><strong>This page shows images of vehicles and names their files. It has to stay at the site that owns
    them.</strong> Nothing in it is loaded from anywhere else.</p>

  <h2>Warnings</h2>
  {% if warnings %}
  {{ list(warnings[:10]) }}
  {% if warnings|length > 10 %}
  <details>
    <summary>{{ warnings|length - 10 }} more warnings</summary>
    {{ list(warnings[10:]) }}
  </details>
  {% endif %}
  {% else %}
  <p>None.</p>
  {% endif %}

  <h2>Numbers</h2>
  <table class="numbers">
    <tbody>
      {% for name, value in numbers %}
      <tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
      {% endfor %}
      {% for name, value in seconds %}
      <tr><th scope="row">{{ name }}</th><td>{{ value }}</td></tr>
      {% endfor %}
    </tbody>
  </table>

  <h2>Images of each vehicle, and how alike they are</h2>
  <img class="wide" src="{{ charts }}" alt="Three charts: images of each vehicle before and after, and the distance of images from their vehicle's centre. Their numbers stand in the table above.">
  <p class="faint">Downsampling does not change these numbers: all images are used for training, in turn.</p>

  <h2>Enhanced images that were kept</h2>
  {% if kept %}
  <p class="faint">An image of the site on the left, its enhanced copy on the right. Examples from the lowest cosine to
    the highest.</p>
  {{ examples(kept) }}
  {% else %}
  <p>None.</p>
  {% endif %}

  <h2>Enhanced images that were refused</h2>
  {% if refused %}
  <p class="faint">Too unlike their vehicle, or hardly changed: their cosine does not lie between {{ "%g"|format(interval[0]) }}
    and {{ "%g"|format(interval[1]) }}. Some examples; the chart of cosines has all.</p>
  {{ examples(refused) }}
  {% else %}
  <p>None.</p>
  {% endif %}

  <h2>Labels in doubt</h2>
  {% if suspects %}
  <p class="faint">Each of these images is clearly nearer to another vehicle than to the other images of the one that it is
    labelled as, or far from those others without being near to anything else. Those to which another vehicle is nearer stand
    first, in descending order of the difference. Compare both images before you change a label: two vehicles of one
    model look alike.
    {% if suspects|length > shown %}The first {{ shown }} are shown with images.{% endif %}</p>
  <div class="scroll">
    <table class="suspects">
      <caption>Images whose label is in doubt: {{ suspects|length }}</caption>
      <thead>
        <tr>
          <th scope="col">Image</th>
          <th scope="col">File</th>
          <th scope="col">Labelled vehicle</th>
          <th scope="col">Camera</th>
          <th scope="col">Cosine to that vehicle's other images</th>
          <th scope="col">Nearer to vehicle</th>
          <th scope="col">By</th>
          <th scope="col">Its best image</th>
          <th scope="col">Left out of training</th>
        </tr>
      </thead>
      <tbody>
        {% for row in suspects %}
        <tr>
          <td>{{ thumbnail(row.own) }}</td>
          <td class="path">{{ row.path }}</td>
          <td>{{ row.pid }}</td>
          <td>{{ row.camid }}</td>
          <td>{{ row.cosine }}</td>
          <td>{{ "none" if row.nearer is none else row.nearer }}</td>
          <td>{{ row.gap }}</td>
          <td>{{ thumbnail(row.other) }}</td>
          <td>{{ "yes" if row.left_out else "no" }}</td>
        </tr>
        {% endfor %}
      </tbody>
    </table>
  </div>
  {% else %}
  <p>None.</p>
  {% endif %}
</main>
</body>
</html>
"""
