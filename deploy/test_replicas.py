#!/usr/bin/env python3
"""Two replicas behind HAProxy, one of them killed under load: deploy/test_replicas.py [PROGRAM]

PROGRAM is the phidias to test (build/release/phidias). Needs haproxy. Half of the requests are streams. Passes if every
request got a whole answer or an error that clients retry, if those with an error were no more than were under way when
the replica died, if a second try of them succeeds, and if a replica that comes back is used again.
"""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CLIENTS = 12
SLOTS = 8  # maxconn of haproxy.cfg
SECONDS = 8
RETRIED = (408, 409, 429, 500, 502, 503, 504)  # by openai-node and openai-python


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_replica(program, port):
    replica = subprocess.Popen([program, "serve", "--port", str(port), "--parallel", str(SLOTS), "-t", "1", "-q"])
    for _ in range(600):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health")
            if connection.getresponse().status == 200:
                return replica
        except OSError:
            pass
        time.sleep(0.1)
    sys.exit("the replica doesn't come up")


def ask(port, number):
    """'ok', 'retry' for an error that clients retry (a broken connection or stream is one), or what else came."""
    stream = number % 2 == 0
    body = {"prompt": f"Once upon a time, number {number}", "max_tokens": 60, "temperature": 0, "ignore_eos": True,
            "stream": stream}
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
        response = connection.getresponse()
        data = response.read()
        connection.close()
    except (OSError, http.client.HTTPException):
        return "retry"
    if response.status in RETRIED:
        return "retry"
    if response.status != 200:
        return f"status {response.status}"
    if stream:
        return "ok" if data.endswith(b"data: [DONE]\n\n") else "retry"
    return "ok" if json.loads(data)["usage"]["completion_tokens"] == 60 else "short"


def load(port, until, results, lock):
    while time.monotonic() < until:
        with lock:
            number = results["next"]
            results["next"] += 1
        outcome = ask(port, number)
        with lock:
            results.setdefault(outcome, []).append(number)


def requests_of(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/metrics")
    text = connection.getresponse().read().decode()
    found = re.search(r'phidias_requests_total{endpoint="/completions",status="200"} (\d+)', text)
    return int(found.group(1)) if found else 0


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "build/release/phidias")
    front, *ports = free_port(), free_port(), free_port()
    replicas = [start_replica(program, port) for port in ports]
    haproxy = shutil.which("haproxy") or "/usr/sbin/haproxy"  # which is on root's PATH alone
    proxy = subprocess.Popen([haproxy, "-db", "-f", os.path.join(ROOT, "deploy/haproxy.cfg")], stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL,
                             env={**os.environ, "PHIDIAS_LISTEN": f"127.0.0.1:{front}",
                                  "PHIDIAS_REPLICA_A": f"127.0.0.1:{ports[0]}",
                                  "PHIDIAS_REPLICA_B": f"127.0.0.1:{ports[1]}"})
    failures = []
    try:
        time.sleep(1.5)
        results, lock = {"next": 0}, threading.Lock()
        until = time.monotonic() + SECONDS
        threads = [threading.Thread(target=load, args=(front, until, results, lock)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        time.sleep(SECONDS / 3)
        replicas[0].send_signal(signal.SIGKILL)
        replicas[0].wait()
        time.sleep(SECONDS / 3)
        replicas[0] = start_replica(program, ports[0])
        for thread in threads:
            thread.join()
        total = results.pop("next")
        good, retry = results.pop("ok", []), results.pop("retry", [])
        second = {number: ask(front, number) for number in retry}
        time.sleep(1)
        before = requests_of(ports[0])
        for number in range(8):
            ask(front, number)
        back = requests_of(ports[0]) - before
        print(f"{total} requests: {len(good)} answered, {len(retry)} to be tried again when a replica was killed, "
              f"{sum(v == 'ok' for v in second.values())} of them answered at the second try; others: {results}; "
              f"{back} of 8 requests went to the replica that came back")
        failures += ["there were other answers"] if results else []
        failures += ["more failed than were under way"] if len(retry) > SLOTS else []
        failures += ["a second try failed"] if any(v != "ok" for v in second.values()) else []
        failures += ["the replica that came back isn't used"] if back == 0 else []
        failures += ["hardly any load"] if len(good) < 20 else []
    finally:
        for process in replicas + [proxy]:
            process.kill()
            process.wait()
    sys.exit("FAILED: " + ", ".join(failures) if failures else 0)


if __name__ == "__main__":
    main()
