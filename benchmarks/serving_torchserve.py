"""TorchServe: `serving_torchserve.py NETWORK.onnx PORT WORKERS BATCH`, started in a folder of its
own. Needs Java 17.

This file is the handler, too: it is copied into the model that TorchServe loads.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
from serving_session import row_shape, session

_loaded: Any = None


def handle(requests: list[dict[str, Any]] | None, context: Any) -> list[Any] | None:
    """Scores: of JSON as lists, of bytes as bytes."""
    global _loaded
    if _loaded is None:
        _loaded = session(os.environ["NETWORK"], int(os.environ["RUNNERS"]))
    if requests is None:
        return None
    bodies = [request["body"] for request in requests]
    rows = [
        np.array(body["data"], np.float32)
        if isinstance(body, dict)
        else np.frombuffer(body, np.float32).reshape(row_shape(_loaded))
        for body in bodies
    ]
    (scores,) = _loaded.run(None, {"x": np.concatenate(rows)})
    return [
        {"y": row.tolist()} if isinstance(body, dict) else row.tobytes()
        for body, row in zip(bodies, scores, strict=True)
    ]


def _write_model(name: str) -> None:
    here, folder = Path(__file__), Path("store", name)
    (folder / "MAR-INF").mkdir(parents=True)
    model = {"modelName": name, "modelVersion": "1.0", "handler": f"{here.name}:handle"}
    (folder / "MAR-INF" / "MANIFEST.json").write_text(
        json.dumps({"runtime": "python", "model": model, "archiverVersion": "0.12.0"})
    )
    for file in (here, here.with_name("serving_session.py")):
        shutil.copy(file, folder)


def _write_properties(name: str, port: int, workers: int, batch: int) -> None:
    model = {
        "defaultVersion": True,
        "marName": name,
        "minWorkers": workers,
        "maxWorkers": workers,
        "batchSize": batch,
        "maxBatchDelay": 1,
        "responseTimeout": 120,
    }
    ends = ("inference_address", "management_address", "metrics_address")
    lines = [f"{end}=http://127.0.0.1:{port + 1000 * number}" for number, end in enumerate(ends)]
    lines += [f"grpc_{end}_port={port + 1000 * number}" for number, end in enumerate(_GRPC, 3)]
    lines += [f"initial_worker_port={port + 5000}", "disable_system_metrics=true"]
    lines += ["disable_token_authorization=true", "job_queue_size=1000", "model_store=store"]
    lines += [f"load_models={name}", f"models={json.dumps({name: {'1.0': model}})}"]
    Path("config.properties").write_text("\n".join(lines))


_GRPC = ("inference", "management")
_LOG = """<?xml version="1.0" encoding="UTF-8"?>
<Configuration>
  <Appenders>
    <Console name="out" target="SYSTEM_OUT"><PatternLayout pattern="%m%n"/></Console>
  </Appenders>
  <Loggers><Root level="warn"><AppenderRef ref="out"/></Root></Loggers>
</Configuration>"""  # otherwise each request writes several lines

if __name__ == "__main__":
    network, port, workers, batch = sys.argv[1:]
    name, here = Path(network).stem, str(Path.cwd())
    _write_model(name)
    _write_properties(name, int(port), int(workers), int(batch))
    os.environ.update(NETWORK=network, RUNNERS=workers, TEMP=here, TMPDIR=here)
    Path("log4j2.xml").write_text(_LOG)
    options = ["--start", "--foreground", "--ncs", "--ts-config", "config.properties"]
    options += ["--log-config", "log4j2.xml"]
    main = "from ts.model_server import start; start()"
    os.execv(sys.executable, [sys.executable, "-c", main, *options])
