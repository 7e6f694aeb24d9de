"""Whether MLflow works for a client: log in at MLFLOW_ADDRESS, write an artifact into the store,
read it back, remove it."""

import base64
import os
import sys
import urllib.request
import uuid

ADDRESS = os.environ.get("MLFLOW_ADDRESS", "mlflow:5009")


def call(method, path, body=None):
    login = f"{os.environ['MLFLOW_ADMIN_USERNAME']}:{os.environ['MLFLOW_AUTH_ADMIN_PASSWORD']}"
    headers = {
        "Authorization": "Basic " + base64.b64encode(login.encode()).decode(),
        "Content-Type": "application/octet-stream",
    }
    request = urllib.request.Request(
        f"http://{ADDRESS}{path}", data=body, method=method, headers=headers
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read()


word = uuid.uuid4().hex.encode()
path = f"/api/2.0/mlflow-artifacts/artifacts/health/{os.uname().nodename}.txt"
call("GET", "/api/2.0/mlflow/experiments/search?max_results=1")
call("PUT", path, word)
sys.exit(call("GET", path) != word)
