#!/usr/bin/env python3
"""Load on a running `phidias serve`, with the standard library alone: tools/serve_bench.py --port 8080 MODE [flags].

  stream   N clients stream completions at once: tokens/s, time to first token, between tokens, p99 of /health meanwhile
  prefix   time to first token of a chat's next turn, with its prefix cached and not
  idle     opens N streams that wait for their turn: the server's memory with and without them (--pid)
  soak     N short requests: the server's memory on the way (--pid)

Prints one JSON object. Tokens are the server's own count (usage).
"""

import argparse
import json
import random
import socket
import statistics
import threading
import time


class Connection:
    """One keep-alive connection that reads answers of HTTP/1.1, chunked or not."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.file = self.socket.makefile("rb", buffering=65536)

    def send(self, method, path, body=None):
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n\r\n"
        self.socket.sendall(head.encode() + data)

    def head(self):
        status = int(self.file.readline().split()[1])
        headers = {}
        while True:
            line = self.file.readline().decode().strip()
            if not line:
                return status, headers
            name, value = line.split(": ", 1)
            headers[name.lower()] = value

    def chunks(self):
        while True:
            size = int(self.file.readline(), 16)
            data = self.file.read(size)
            self.file.read(2)
            if size == 0:
                return
            yield data

    def ask(self, method, path, body=None):
        self.send(method, path, body)
        status, headers = self.head()
        if headers.get("transfer-encoding") == "chunked":
            return status, b"".join(self.chunks())
        return status, self.file.read(int(headers.get("content-length", 0)))

    def close(self):
        self.file.close()
        self.socket.close()


def resident_mb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        for line in status:
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    return 0.0


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else None


def completion(prompt, tokens, **more):
    return {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, **more}


def stream_once(port, prompt, tokens, out):
    connection = Connection(port)
    begin = time.perf_counter()
    connection.send("POST", "/v1/completions",
                    completion(prompt, tokens, stream=True, stream_options={"include_usage": True}))
    status, _ = connection.head()
    if status != 200:
        out.append({"status": status})
        return
    times, tail = [], b""
    for chunk in connection.chunks():
        times.append(time.perf_counter())
        tail = (tail + chunk)[-2000:]
    usage = json.loads(tail[tail.rindex(b'"usage":') + 8:tail.rindex(b"}\n\ndata: [DONE]")])
    out.append({"status": 200, "begin": begin, "first": times[0], "end": times[-1], "pieces": len(times),
                "tokens": usage["completion_tokens"], "gaps": [b - a for a, b in zip(times, times[1:])]})
    connection.close()


def watch_health(port, seconds, stop, out):
    connection = Connection(port)
    while not stop.is_set():
        begin = time.perf_counter()
        connection.ask("GET", "/health")
        out.append(time.perf_counter() - begin)
        time.sleep(seconds)
    connection.close()


def mode_stream(args):
    results, health, stop = [], [], threading.Event()
    watcher = threading.Thread(target=watch_health, args=(args.port, args.health_ms / 1e3, stop, health))
    watcher.start()
    clients = [threading.Thread(target=stream_once, args=(args.port, f"Once upon a time, number {i}", args.tokens, results))
               for i in range(args.clients)]
    busy = time.process_time()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    busy = time.process_time() - busy
    stop.set()
    watcher.join()
    good = [r for r in results if r["status"] == 200]
    tokens = sum(r["tokens"] for r in good)
    seconds = max(r["end"] for r in good) - min(r["begin"] for r in good)
    gaps = [gap for r in good for gap in r["gaps"]]
    return {"clients": args.clients, "refused": len(results) - len(good), "tokens": tokens,
            "tokens_per_second": round(tokens / seconds, 1), "pieces": sum(r["pieces"] for r in good),
            "client_cores": round(busy / seconds, 3),
            "first_token_ms_median": round(1e3 * statistics.median(r["first"] - r["begin"] for r in good), 2),
            "gap_ms_p50": round(1e3 * quantile(gaps, .5), 3), "gap_ms_p99": round(1e3 * quantile(gaps, .99), 3),
            "health_ms_p50": round(1e3 * quantile(health, .5), 2),
            "health_ms_p99": round(1e3 * quantile(health, .99), 2)}


def first_token(connection, messages):
    begin = time.perf_counter()
    status, body = connection.ask("POST", "/v1/chat/completions",
                                  {"messages": messages, "max_tokens": 1, "temperature": 0})
    seconds = time.perf_counter() - begin
    assert status == 200, body
    return seconds, json.loads(body)["usage"]


def mode_prefix(args):
    cached, uncached, words = [], [], "the sun and a small boat went over hills to find more water".split()
    connection = Connection(args.port)
    for repeat in range(args.repeats):
        random.seed(f"{args.seed} {repeat}")
        text = " ".join(random.choice(words) for _ in range(args.words))
        messages = [{"role": "user", "content": text}]
        seconds, usage = first_token(connection, messages)
        assert usage["prompt_tokens_details"]["cached_tokens"] == 0, "these words were asked before: another --seed"
        uncached.append(seconds)
        messages += [{"role": "assistant", "content": "Yes."}, {"role": "user", "content": "And then?"}]
        seconds, usage = first_token(connection, messages)
        cached.append(seconds)
    return {"prompt_tokens": usage["prompt_tokens"], "cached_tokens": usage["prompt_tokens_details"]["cached_tokens"],
            "uncached_ms": round(1e3 * statistics.median(uncached), 2),
            "cached_ms": round(1e3 * statistics.median(cached), 2),
            "ratio": round(statistics.median(uncached) / statistics.median(cached), 2)}


def mode_idle(args):
    Connection(args.port).ask("POST", "/v1/completions", completion("warm up", 8))
    before = resident_mb(args.pid)
    connections = [Connection(args.port) for _ in range(args.clients)]
    for connection in connections:
        connection.send("POST", "/v1/completions", completion("Once upon a time", 400, stream=True))
    time.sleep(2)
    during = resident_mb(args.pid)
    begin = time.perf_counter()
    status, _ = Connection(args.port).ask("GET", "/health")
    return {"streams": len(connections), "rss_mb_before": round(before, 1), "rss_mb_with_them": round(during, 1),
            "more_mb": round(during - before, 1), "health": status,
            "health_ms": round(1e3 * (time.perf_counter() - begin), 2)}


def mode_soak(args):
    memory, counts = [], {}
    lock = threading.Lock()
    left = [args.requests]

    def work():
        connection = Connection(args.port)
        while True:
            with lock:
                if left[0] == 0:
                    break
                left[0] -= 1
                number = left[0]
                if number % (args.requests // 10) == 0:
                    memory.append(round(resident_mb(args.pid), 1))
            kind = number % 4
            body = completion(f"Story {number}", 4, stream=kind == 1) if kind < 3 else {"prompt": 5}
            status, _ = connection.ask("POST", "/v1/completions", body)
            with lock:
                counts[status] = counts.get(status, 0) + 1
        connection.close()

    begin = time.perf_counter()
    threads = [threading.Thread(target=work) for _ in range(args.clients)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"requests": args.requests, "seconds": round(time.perf_counter() - begin, 1), "answers": counts,
            "rss_mb": memory}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["stream", "prefix", "idle", "soak"])
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--pid", type=int, help="of the server, for its memory")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=256, help="of each stream")
    parser.add_argument("--health-ms", type=float, default=10, help="between two questions for /health beside streams")
    parser.add_argument("--words", type=int, default=300, help="of the chat's first message")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--requests", type=int, default=10000)
    parser.add_argument("--seed", type=int, default=time.time_ns(), help="of the words of prefix (the time)")
    args = parser.parse_args()
    mode = {"stream": mode_stream, "prefix": mode_prefix, "idle": mode_idle, "soak": mode_soak}[args.mode]
    print(json.dumps(mode(args)))


if __name__ == "__main__":
    main()
