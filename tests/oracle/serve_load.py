"""Asks a running server as hard as some clients can.

    python tests/oracle/serve_load.py http://127.0.0.1:8000 CORPUS FILE [--clients 64]
        [--seconds 10] [--silent 0] [--pause 1]

FILE has a query a line. Each client keeps one connection and asks `/retrieve` again and again, one
query at a time. --silent opens, from a process of its own, that many further connections that send
half a request and nothing more; where the server ends one it comes back after --pause seconds.
Prints requests a second, p50, p99, the longest time, and how often each status and error came. No
packages are needed. The clients take a core of their own, which the server does not have then.
"""

import argparse
import asyncio
import json
import multiprocessing
import time
from collections import Counter
from urllib.parse import quote, urlsplit


async def ask(reader, writer, path: str, query: str) -> int:
    """Sends one query; returns the status."""
    body = json.dumps({"queries": [query], "topk": 3, "return_scores": True}).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
    await reader.readexactly(length)
    return int(head.split(b" ")[1])


async def client(number: int, target, queries: list[str], end: float, times, statuses) -> None:
    """Asks until the end; opens a new connection where one is lost."""
    at = number
    host, port, path = target
    while time.perf_counter() < end:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            while time.perf_counter() < end:
                start = time.perf_counter()
                statuses[await ask(reader, writer, path, queries[at % len(queries)])] += 1
                times.append(time.perf_counter() - start)
                at += 1
            writer.close()
        except (OSError, asyncio.IncompleteReadError) as error:
            statuses[type(error).__name__] += 1


async def silent(host: str, port: int, pause: float) -> None:
    """Sends half a request, again and again where the server ends it."""
    while True:
        try:
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"POST /retrieve HTTP/1.1\r\nHost: local")
            await reader.read()
            writer.close()
        except OSError:
            pass
        await asyncio.sleep(pause)


def crowd(host: str, port: int, count: int, pause: float) -> None:
    """Keeps that many silent connections, until the process is ended."""
    async def all_of_them() -> None:
        await asyncio.gather(*(silent(host, port, pause) for _ in range(count)))

    asyncio.run(all_of_them())


async def run(given) -> None:
    url = urlsplit(given.url)
    with open(given.file, encoding="utf-8") as file:
        queries = [line.strip() for line in file if line.strip()]
    target = (url.hostname, url.port, f"/retrieve/{quote(given.corpus, safe='')}")
    others = (url.hostname, url.port, given.silent, given.pause)
    process = multiprocessing.Process(target=crowd, args=others, daemon=True)
    if given.silent:
        process.start()
        await asyncio.sleep(3)
    times, statuses = [], Counter()
    start = time.perf_counter()
    end = start + given.seconds
    clients = [
        client(number, target, queries, end, times, statuses) for number in range(given.clients)
    ]
    await asyncio.gather(*clients)
    took = time.perf_counter() - start
    if given.silent:
        process.terminate()
    if not times:
        print(f"nothing was answered; {dict(statuses)}")
        return
    times.sort()
    at = lambda share: times[min(len(times) - 1, int(share * len(times)))] * 1000
    print(f"{len(times) / took:.0f} requests/s, p50 {at(.5):.2f} ms, p99 {at(.99):.2f} ms, "
          f"longest {times[-1] * 1000:.1f} ms; {dict(statuses)}")


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("corpus")
    arguments.add_argument("file")
    arguments.add_argument("--clients", type=int, default=64)
    arguments.add_argument("--seconds", type=float, default=10)
    arguments.add_argument("--silent", type=int, default=0)
    arguments.add_argument("--pause", type=float, default=1)
    asyncio.run(run(arguments.parse_args()))


main()
