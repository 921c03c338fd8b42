"""Images a second through a frozen extractor, against a bare loop of forward passes over preloaded tensors; one JSON line.

    python benchmarks/embedding.py IMAGE_FOLDER MODEL [--batch-size 32] [--rounds 3]

Both run in the same process on the same images, in turn; the cache starts empty in each round. The bare loop holds every batch
as a tensor and keeps its pooled output, so it does none of the reading, decoding, resizing, hashing and storing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import torch

from lapsi.data.extractors.embedding import embed_content
from lapsi.data.extractors.images import image_extractor
from lapsi.data.readers.image_folders import read_image_folder
from lapsi.execution.progress import Stages
from lapsi.settings.extractor import ExtractorSettings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("model")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    content = read_image_folder(arguments.folder).content
    settings = ExtractorSettings(model=arguments.model, batch_size=arguments.batch_size)
    extractor = image_extractor(settings, arguments.model)
    inputs = [
        extractor.prepare(content.decode(content.read(row))) for row in range(min(len(content), 8 * arguments.batch_size))
    ]
    batches = [
        torch.stack(inputs[start : start + arguments.batch_size]) for start in range(0, len(inputs), arguments.batch_size)
    ]
    rounds = []
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        n_done = 0
        while n_done < len(content):
            for batch in batches:
                with torch.inference_mode():
                    extractor.network(pixel_values=batch).pooler_output.clone()
                n_done += len(batch)
                if n_done >= len(content):
                    break
        bare = n_done / (time.perf_counter() - start)
        stages = Stages(False)
        with tempfile.TemporaryDirectory() as cache:
            embed_content(content, settings, Path(cache), stages)
        ours = len(content) / stages.seconds["embed"]
        rounds.append({"bare": round(bare, 1), "lapsi": round(ours, 1), "ratio": round(ours / bare, 3)})
    ratios = sorted(each["ratio"] for each in rounds)
    print(
        json.dumps(
            {
                "n_images": len(content),
                "threads": torch.get_num_threads(),
                "median_ratio": ratios[len(ratios) // 2],
                "rounds": rounds,
            }
        )
    )


if __name__ == "__main__":
    main()
