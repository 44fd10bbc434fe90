"""Client processes of a site with a stand-in for the SuperNode: each is a fork of one process that has imported Flower.

What is stood in for is the network alone: the bundle goes through Flower's own `run_clientapp`.
"""

import hashlib
import json
import subprocess
import sys

PROGRAM = """
import json, os, sys
os.environ["FLWR_TELEMETRY_ENABLED"] = "0"
from pathlib import Path
from types import SimpleNamespace
from flwr.app import ConfigRecord, Context, Message, RecordDict
from flwr.supercore.fab import Fab
from flwr.supercore.task_identity import TaskIdentity
from flwr.supernode.runtime import run_clientapp as runtime
import flwr.supernode.cli
from app.deployment import client_process, verify  # more of the project than a client process imports itself

def pulled(case):
    TaskIdentity.task_id, TaskIdentity.run_id, TaskIdentity.node_id = 1, 1, 7
    message = Message(RecordDict({"config": ConfigRecord({})}), dst_node_id=7, message_type="query")
    message.metadata.__dict__["_message_id"] = "m"
    context = Context(run_id=1, node_id=7, node_config={}, state=RecordDict(), run_config={"overrides": ""})
    run = SimpleNamespace(run_id=1, fab_id=case["fab_id"], fab_version=case["fab_version"])
    return message, context, run, Fab(case["claimed"], Path(case["bundle"]).read_bytes(), {})

class Silent:
    is_running = False
    def __init__(self, *_): pass
    def start(self): pass
    def close(self): pass

def work(case, out):
    os.environ["FLWR_HOME"] = case["home"]
    os.chdir(Path(case["site"]) / "state")
    def push(client, reply, context):
        told = {"error": reply.error.reason} if reply.has_error() else {"reply": dict(reply.content["told"])}
        out.write(json.dumps(told)); out.flush()
    runtime.pull_task_input = lambda client: pulled(case)
    runtime.push_message = push
    runtime.push_task_output = lambda **_: None
    runtime.HeartbeatSender = Silent
    runtime.RuntimeHttpClient = SimpleNamespace(from_server_address=lambda **_: Silent())
    client_process.main(case["site"], case["command"], "--token", "t", "--insecure", *case["more"])

for case in json.loads(sys.stdin.read()):
    read, write = os.pipe()
    log_read, log_write = os.pipe()
    if not (child := os.fork()):
        os.dup2(log_write, 1); os.dup2(log_write, 2); os.close(log_read); os.close(log_write)
        status = 1
        try:
            work(case, os.fdopen(write, "w"))
        except SystemExit as error:
            status = error.code if isinstance(error.code, int) else int(error.code is not None)
        except BaseException:
            import traceback; traceback.print_exc()
        finally:
            sys.stdout.flush(); sys.stderr.flush(); os._exit(status)
    os.close(write); os.close(log_write)
    log = os.fdopen(log_read, errors="replace").read()
    told = json.loads(os.fdopen(read).read() or "{}")
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(json.dumps({"log": log, "status": status, **told}), flush=True)
"""


def run_clients(cases):
    """For each case what its process printed, its status, and the error or content of the reply."""
    words = [sys.executable, "-P", "-W", "ignore", "-c", PROGRAM]
    done = subprocess.run(words, input=json.dumps(cases), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def case(site, path, **changes):
    """What a server hands to a client process; `changes`: what it claims otherwise."""
    values = {
        "site": str(site),
        "home": str(site / "state" / "flower"),
        "bundle": str(path),
        "claimed": hashlib.sha256(path.read_bytes()).hexdigest(),
        "fab_id": "tests/small",
        "fab_version": "1.0.0",
        "command": "flwr-clientapp",
        "more": [],
    }
    return {**values, **changes}
