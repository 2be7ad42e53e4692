"""A call between two people in Chromium who reach each other through TURN only: data both ways, and video.

Reads one JSON object on standard input: host and address (a name for the relay, and what it resolves to), urls (of
iceServers), secret, authority (a PEM file that the browser trusts, or null), messages and frames (wanted each way), and
limit (seconds). Writes one JSON object: `complete`, and what each caller says, in the form of `told` in browser_call.js.
"""

import asyncio
import json
import os
import pathlib
import sys
import time

from devtools import Browser
from rest import credentials

LOOK = 0.1


async def exchange_candidates(one, two) -> None:
    for source, sink in ((one, two), (two, one)):
        if candidates := await source.call("found"):
            await sink.call("add", candidates)


async def call(browser: Browser, task: dict) -> dict:
    script = pathlib.Path(__file__).with_name("browser_call.js").read_text()
    callers = [await browser.page(script), await browser.page(script)]
    for number, caller in enumerate(callers):
        # Users of this call alone: the quota is by user, and a call that is cut off leaves allocations behind.
        username, credential = credentials(task["secret"], f"browser-{os.getpid()}-{number}")
        server = {"urls": task["urls"], "username": username, "credential": credential}
        await caller.call("join", [server], number == 0)
    one, two = callers
    answer = await two.call("describe", await one.call("describe", None))
    await one.call("describe", answer)
    await one.call("echo", task["messages"])

    def complete(told: list[dict]) -> bool:
        return told[0]["echoed"] >= task["messages"] and all(side["framesDecoded"] >= task["frames"] for side in told)

    end = time.monotonic() + task["limit"]
    while True:
        await exchange_candidates(one, two)
        told = [await caller.call("told") for caller in callers]
        if complete(told) or time.monotonic() >= end:
            for caller in callers:
                await caller.run("caller.peer.close()")
            return {"complete": complete(told), "callers": told}
        await asyncio.sleep(LOOK)


async def main() -> dict:
    task = json.load(sys.stdin)
    host, address = task["host"], task["address"]
    # ICE asks for the name with the dot that ends it, the network stack without. Nothing else has an address.
    flags = [f"--host-resolver-rules=MAP {host} {address}, MAP {host}. {address}, MAP * ~NOTFOUND"]
    authorities = [task["authority"]] if task["authority"] else []
    async with Browser(flags, authorities) as browser:
        return await call(browser, task)


json.dump(asyncio.run(main()), sys.stdout)
