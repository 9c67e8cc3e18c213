# SPDX-License-Identifier: GPL-2.0-or-later
"""What the benchmarks share: the build they measure, a fleet under load, and the rows of their tables."""
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("TELOVIX_BUILD", str(ROOT / "build/bench"))
sys.path.insert(0, str(ROOT / "test/harness"))
import telovix  # noqa: E402 -- the build folder is chosen first

PROGRAMS = ["telovix-console", "telovix-sensor", "telovixctl", "telovix-mint", "bench-fleet", "bench-kill-latency", "bench-victim",
            "bench-block-latency", "bench-exec-cost"]


def build():
    """A release but for its scope: sensors of a benchmark are confined like those of every test."""
    folder = os.environ["TELOVIX_BUILD"]
    subprocess.run(["cmake", "--preset", "release", "-B", folder, "-DTLX_TESTS=ON", "-DTLX_RELEASE=OFF"], check=True,
                   stdout=subprocess.DEVNULL, cwd=ROOT)
    subprocess.run(["ninja", "-C", folder, *PROGRAMS], check=True, stdout=subprocess.DEVNULL)


def run(program, *words, timeout=1800):
    """The one line of JSON that a program of this folder prints."""
    result = subprocess.run([telovix.BUILD / "test/bench" / program, *[str(word) for word in words]], capture_output=True,
                            text=True, timeout=timeout)
    if result.returncode != 0:
        raise SystemExit(result.stderr)
    return json.loads(result.stdout)


@contextlib.contextmanager
def loaded_fleet(sensors):
    """A Console, one real sensor, and sensors - 1 virtual ones that heartbeat; (fleet, the real one)."""
    with telovix.Fleet() as fleet:
        folder = fleet.folder / "virtual"
        if sensors > 1:
            fleet.mint("sensors", sensors - 1, folder)
        console = fleet.start_console()
        sensor = fleet.start_sensor("bench")
        if sensors > 1:
            load = telovix.Daemon("fleet", [telovix.BUILD / "test/bench/bench-fleet", console.address, folder, sensors - 1],
                                  fleet.folder)
            fleet.daemons.append(load)
            load.wait_output(r"ready \d+", 180)
            # One interval more, so that the beats have spread.
            time.sleep(15)
        yield fleet, sensor


def latency_table(results, columns):
    """Rows of Markdown; `columns` are (head, name in the figures). The last two are the floor and the ratio to it."""
    print("| Sensors | " + " | ".join(f"{head}, p50 / p99" for head, _ in columns) + " | Floor, p50 / p99 | Ratio, p50 / p99 |")
    print("|---|" + "---|" * (len(columns) + 2))
    for n, figures in results.items():
        cells = [f"{figures[name]['p50']:.2f} / {figures[name]['p99']:.2f} ms" for _, name in [*columns, ("", "floor_ms")]]
        print(f"| {n:,} | " + " | ".join(cells) + f" | {figures['ratio']['p50']:.2f} / {figures['ratio']['p99']:.2f} |")


def latency_main(what, columns, measure, rounds, holds):
    """The command of a latency benchmark. `measure(sensors, rounds)` gives figures; `holds(figures)` a list of
    (goal, figure, whether it is met), judged with the most sensors."""
    import argparse
    parser = argparse.ArgumentParser(description=what, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=rounds)
    parser.add_argument("--sensors", type=int, default=1000)
    shape = parser.add_mutually_exclusive_group()
    shape.add_argument("--json", action="store_true", help="the figures as one line of JSON")
    shape.add_argument("--markdown", action="store_true", help="the rows of doc/performance.md alone")
    args = parser.parse_args()
    build()
    results = {n: measure(n, args.rounds) for n in sorted({1, args.sensors})}
    if args.json:
        print(json.dumps(results))
        return
    latency_table(results, columns)
    if not args.markdown:
        for goal, figure, met in holds(results[args.sensors]):
            print(f"{'holds' if met else 'does not hold'}: {goal}: {figure}")
