"""Open-loop arrivals at 150 % of the measured capacity for 60 s; then one flooding client beside one polite one."""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any, NamedTuple

from tests.cases.attack.harness import Server, copy_index, count, list_images, multipart, report, run_parts

PORT = 8601
FLOODING, POLITE = "127.0.0.2", "127.0.0.3"


class Result(NamedTuple):
    """Status of a response, or the name of the exception; seconds; the value of Retry-After."""

    status: int | str
    seconds: float
    retry_after: str = ""


async def post(path: str, body: bytes, content_type: str = "", timeout: float = 45, address: str = "") -> Result:
    start, writer = time.monotonic(), None
    try:
        connecting = asyncio.open_connection("127.0.0.1", PORT, local_addr=(address, 0) if address else None)
        reader, writer = await asyncio.wait_for(connecting, 10)
        headers = ["Host: localhost", "Connection: close", f"Content-Length: {len(body)}"]
        headers += [f"Content-Type: {content_type}"] if content_type else []
        writer.write("\r\n".join([f"POST {path} HTTP/1.1", *headers, "", ""]).encode() + body)
        await writer.drain()
        response = await asyncio.wait_for(reader.read(-1), timeout)
        head = response.partition(b"\r\n\r\n")[0].decode("latin1").lower()
        retry_after = [line.split(":")[1].strip() for line in head.split("\r\n") if line.startswith("retry-after")]
        return Result(int(head[9:12]), time.monotonic() - start, *retry_after[:1])
    except Exception as error:
        return Result(type(error).__name__, time.monotonic() - start)
    finally:
        if writer:
            writer.close()


def percentiles(seconds: list[float]) -> dict[str, float]:
    values = sorted(seconds)
    if not values:
        return {}
    named = {f"p{percent}": round(values[len(values) * percent // 100], 2) for percent in (50, 95, 99)}
    return {"count": len(values), **named, "max": round(values[-1], 2)}


async def measure_capacity(images: list[bytes], seconds: float = 12, clients: int = 8) -> float:
    """Images per second in a closed loop."""
    end, results = time.monotonic() + seconds, list[Result]()

    async def classify() -> None:
        while time.monotonic() < end:
            results.append(await post("/classify", random.choice(images)))

    await asyncio.gather(*[classify() for _ in range(clients)])
    return sum(result.status == 200 for result in results) / seconds


async def probe_live(end: float) -> list[Result]:
    results = []
    while time.monotonic() < end:
        start = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", PORT)
        writer.write(b"GET /live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        response = await reader.read(-1)
        writer.close()
        results.append(Result(int(response[9:12]), time.monotonic() - start))
        await asyncio.sleep(0.2)
    return results


async def open_loop(server: Server, images: list[bytes], rate: float, seconds: float) -> None:
    start, tasks = time.monotonic(), list[asyncio.Task[Result]]()
    live = asyncio.create_task(probe_live(start + seconds))
    while time.monotonic() < start + seconds:
        tasks.append(asyncio.create_task(post("/classify", random.choice(images))))
        await asyncio.sleep(max(0, start + len(tasks) / rate - time.monotonic()))
    results, probes = await asyncio.gather(*tasks), await live
    by_status: dict[Any, list[Result]] = {}
    for result in results:
        by_status.setdefault(result.status, []).append(result)
    good = len(by_status.get(200, ()))
    report(f"open loop {rate:.1f}/s for {seconds} s: {len(tasks)} sent, {good / seconds:.2f} per second classified")
    for status, group in by_status.items():
        report(f"  {status}:", percentiles([result.seconds for result in group]))
    report("  Retry-After:", count([result.retry_after for result in by_status.get(503, ())]))
    report("  /live:", percentiles([probe.seconds for probe in probes]), count([probe.status for probe in probes]))
    report(" ", server.resources())


async def flood(images: list[bytes], connections: int, images_per_request: int, seconds: float = 20) -> None:
    end, flooding, polite = time.monotonic() + seconds, list[Result](), list[Result]()
    form, headers = multipart(images[:images_per_request])

    async def send_all() -> None:
        while time.monotonic() < end:
            if images_per_request == 1:
                result = await post("/classify", random.choice(images), address=FLOODING)
            else:
                result = await post("/classify", form, headers["Content-Type"], address=FLOODING)
            flooding.append(result)
            if result.status != 200:
                await asyncio.sleep(0.02)

    async def send_politely() -> None:
        while time.monotonic() < end:
            polite.append(await post("/classify", random.choice(images), address=POLITE))
            await asyncio.sleep(1)

    await asyncio.gather(*[send_all() for _ in range(connections)], send_politely())
    report(
        f"{connections} connections with {images_per_request} images per request from {FLOODING}:",
        count([result.status for result in flooding]),
        f"{images_per_request * sum(result.status == 200 for result in flooding) / seconds:.1f} images per second;",
        f"a polite client (1 per second) from {POLITE}:",
        count([result.status for result in polite]),
        percentiles([result.seconds for result in polite if result.status == 200]),
    )


async def overload_server() -> None:
    capacity = await measure_capacity(images)
    report(f"capacity, closed loop, 8 clients, ten crops: {capacity:.2f} images per second", server.resources())
    await open_loop(server, images, 1.5 * capacity, 60)
    await asyncio.sleep(6)
    report("after a rest:", server.resources(), (await post("/classify", images[0]))[:2])


async def flood_server() -> None:
    for connections, images_per_request in ((0, 1), (8, 1), (64, 1), (4, 16), (16, 16)):
        await flood(images, connections, images_per_request)


def overload() -> None:
    asyncio.run(overload_server())


def floods() -> None:
    asyncio.run(flood_server())


if __name__ == "__main__":
    random.seed(5)
    images = [path.read_bytes() for path in list_images()]
    server = Server(PORT, copy_index("index_load"), log="load.log")
    run_parts(overload, floods)
    report(server.failures(), server.terminate())
