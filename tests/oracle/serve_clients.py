"""Asks a running server with the clients that others use.

    python tests/oracle/serve_clients.py http://127.0.0.1:8000 CORPUS QUERY [--token TOKEN]
        [--stdio PROGRAM ARGUMENTS ...]

Needs the Python packages mcp (2) and requests. Lists and calls the tool that searches the corpus
over streamable HTTP, and with --stdio over standard input and output too; sends what Search-R1 and
verl send and reads the answer as they read it; compares the ids with Pyserini's paths. Ends with 1
where something differs. Not part of `make test`: it needs peers that the tests must do without.
"""

import argparse
import asyncio
import sys
from urllib.parse import quote

import requests
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import create_mcp_http_client, streamable_http_client

WRONG = []


def check(what: str, holds: bool, found: object) -> None:
    """Prints one line; remembers what does not hold."""
    print(f"{'ok   ' if holds else 'WRONG'} {what}: {str(found)[:120]!r}")
    if not holds:
        WRONG.append(what)


async def converse(session: ClientSession, tool: str, query: str, how: str) -> str:
    """Lists and calls tools; returns the text of the search."""
    await session.initialize()
    names = [found.name for found in (await session.list_tools()).tools]
    check(f"{how}: tools are listed", tool in names, names)
    result = await session.call_tool(tool, {"query": query})
    check(f"{how}: {tool} answers", not result.is_error, result.content[0].text)
    wrong = await session.call_tool("no_such_tool", {})
    check(f"{how}: an unknown tool is an error to read", wrong.is_error, wrong.content[0].text)
    return result.content[0].text


async def over_http(url: str, token: str | None, tool: str, query: str) -> str:
    """Speaks the Model Context Protocol over streamable HTTP."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    async with create_mcp_http_client(headers=headers) as http:
        async with streamable_http_client(f"{url}/mcp", http_client=http) as streams:
            async with ClientSession(streams[0], streams[1]) as session:
                return await converse(session, tool, query, "HTTP")


async def over_stdio(command: list[str], tool: str, query: str) -> str:
    """Speaks the Model Context Protocol with a program that it starts."""
    program = StdioServerParameters(command=command[0], args=command[1:])
    async with stdio_client(program) as streams:
        async with ClientSession(streams[0], streams[1]) as session:
            return await converse(session, tool, query, "stdio")


def passages_to_text(result: list[dict]) -> str:
    """Reads an answer as Search-R1 and verl do: the first line of `contents` is the title."""
    out = ""
    for index, item in enumerate(result):
        title, _, text = item["document"]["contents"].partition("\n")
        out += f"Doc {index + 1} (Title: {title})\n{text}\n\n"
    return out.strip()


def as_trainer(url: str, headers: dict, corpus: str, query: str) -> list[str]:
    """Sends the request of Search-R1 and verl; returns the ids found."""
    queries = [query, "", query]
    body = {"queries": queries, "topk": 3, "return_scores": True}
    answer = requests.post(f"{url}/retrieve/{corpus}", json=body, headers=headers, timeout=30)
    answer.raise_for_status()
    lists = answer.json()["result"]
    check("retrieve: a list for each query", len(lists) == len(queries), len(lists))
    check("retrieve: the same query, the same answer", lists[0] == lists[2], lists[0])
    check("retrieve: read as a trainer reads it", bool(lists[0]), passages_to_text(lists[0]))
    scores = [item["score"] for item in lists[0]]
    check("retrieve: best first", scores == sorted(scores, reverse=True), scores)
    body = {"queries": [query], "topk": None, "return_scores": False}
    bare = requests.post(f"{url}/retrieve/{corpus}", json=body, headers=headers, timeout=30).json()
    check("retrieve: bare documents", bare["result"][0] == [x["document"] for x in lists[0]], bare)
    fingerprint = answer.headers.get("Swirl-Corpus")
    check("retrieve: the header names the corpus", bool(fingerprint), fingerprint)
    return [item["document"]["id"] for item in lists[0]]


def as_pyserini(url: str, headers: dict, corpus: str, query: str, ids: list[str]) -> None:
    """Asks Pyserini's paths for the same documents."""
    parameters = {"query": query, "hits": len(ids)}
    base = f"{url}/v1/{quote(corpus, safe='')}"
    found = requests.get(f"{base}/search", params=parameters, headers=headers, timeout=30).json()
    same = [item["docid"] for item in found["candidates"]]
    check("v1: the same documents", same == ids, same)
    for docid in ids:
        document = requests.get(f"{base}/doc/{quote(docid)}", headers=headers, timeout=30).json()
        first = next(item for item in found["candidates"] if item["docid"] == docid)
        check(f"v1: document {docid}", document["doc"] == first["doc"], document)


def main() -> None:
    arguments = argparse.ArgumentParser()
    arguments.add_argument("url")
    arguments.add_argument("corpus")
    arguments.add_argument("query")
    arguments.add_argument("--token")
    arguments.add_argument("--stdio", nargs=argparse.REMAINDER)
    given = arguments.parse_args()
    headers = {"Authorization": f"Bearer {given.token}"} if given.token else {}
    health = requests.get(f"{given.url}/health", timeout=30).json()
    tool = next(c["tool"] for c in health["corpora"] if c["name"] == given.corpus)
    text = asyncio.run(over_http(given.url, given.token, tool, given.query))
    if given.stdio:
        other = asyncio.run(over_stdio(given.stdio, tool, given.query))
        check("stdio and HTTP say the same", text == other, other)
    ids = as_trainer(given.url, headers, given.corpus, given.query)
    as_pyserini(given.url, headers, given.corpus, given.query, ids)
    print(f"{len(WRONG)} wrong")
    sys.exit(bool(WRONG))


main()
