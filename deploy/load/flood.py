"""A flood of the largest photos that are accepted: how much memory the service and Triton take, by number of clients.

    python -m deploy.load.flood --clients 1 4 16 64 --seconds 20

Each client sends a 40-megapixel photo, waits for the answer, and sends the next: JPEG, PNG near the body limit, WebP
with transparency in turn. Answers are asked for as PNG, which makes them the largest. Who is told to come later comes
at once, as a hostile client would.
"""

import argparse
import json
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import cv2
import httpx
import numpy as np

from deploy.load.machine import machine
from deploy.load.watch import Watch
from deploy.local.sample_photos import real_portrait
from deploy.local.stack import LocalStack
from services.settings import Settings

WIDTH, HEIGHT = 8000, 5000


def largest_photos(limit_bytes: int) -> list[bytes]:
    """JPEG, PNG and WebP of 40 megapixels with one face; the PNG has nearly as many bytes as a body may have."""
    pixels = cv2.resize(real_portrait(), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    noisy = pixels.copy()
    rows = int(HEIGHT * limit_bytes / (WIDTH * HEIGHT * 3) * 0.25)  # noise is what no PNG makes smaller
    noisy[-rows:] = np.random.default_rng(0).integers(0, 256, (rows, WIDTH, 3), dtype=np.uint8)
    clear = np.dstack([pixels, np.full((HEIGHT, WIDTH), 200, np.uint8)])
    files = [
        cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1],
        cv2.imencode(".png", noisy[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 1])[1],
        cv2.imencode(".webp", cv2.cvtColor(clear, cv2.COLOR_RGBA2BGRA), [cv2.IMWRITE_WEBP_QUALITY, 80])[1],
    ]
    return [file.tobytes() for file in files if file.nbytes <= limit_bytes]


def flood(stack: LocalStack, photos: Sequence[bytes], clients: int, seconds: float) -> dict[str, object]:
    """Sends photos from so many clients at the same time for some seconds, and until the last answer.

    Returns:
        Clients, answers by status, and the most memory of the service, its models and Triton in MB.
    """
    statuses: Counter[str] = Counter()
    end = time.monotonic() + seconds

    def client(number: int) -> None:
        with httpx.Client(base_url=stack.url, timeout=180) as http:
            while time.monotonic() < end:
                try:
                    answer = http.post("/v1/anonymize?format=png", content=photos[number % len(photos)])
                    statuses[str(answer.status_code)] += 1
                except httpx.TransportError as broken:
                    statuses[type(broken).__name__] += 1
                number += 1

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    with Watch(stack, every_s=0.1) as watch:
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    most = {name: max(sample.groups[name].rss for sample in watch.samples) >> 20 for name in ("service", "triton")}
    return {"clients": clients, "statuses": dict(sorted(statuses.items())), "peak_mb": most}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16, 64])
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--out", type=Path, help="where to write the figures, as JSON")
    chosen = parser.parse_args()
    settings = Settings(port=0, grpc_port=0)
    photos = largest_photos(settings.max_body_bytes)
    print(f"photos of {', '.join(f'{len(photo) / 1e6:.1f} MB' for photo in photos)}; {machine()}")
    rows = []
    with LocalStack(settings) as stack:
        for clients in chosen.clients:
            rows.append(flood(stack, photos, clients, chosen.seconds))
            print(rows[-1], flush=True)
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
