"""`make demo`: the cluster up, the main job on it, a table of what took how long. 0 only without a difference."""

from __future__ import annotations

import argparse
import sys

from dev.scenario import bed, state
from dev.scenario.demo import NAMESPACE, Demo, Different
from dev.scenario.documents import RESTORED
from dev.scenario.kubectl import KubectlError, WaitedTooLong
from dev.scenario.places import STORAGE, place
from dev.scenario.timeline import Timeline
from dev.scenario.waiting import Failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo", description="The main job on a local cluster.")
    parser.add_argument("--storage", default="s3", choices=STORAGE, help="where backups go (default: %(default)s)")
    options = parser.parse_args()
    timeline = Timeline()
    try:
        with timeline.step("the cluster is up, with this checkout's images") as step:
            found = bed.up()
            where = place(options.storage, found.kubectl(NAMESPACE))
            step.detail = f"{found.name} ({found.backend})"
    except bed.ClusterError as error:
        print(error, file=sys.stderr)
        return 1
    demo = Demo(found, where, time=timeline)
    try:
        demo.run()
    except (Different, Failed, KubectlError, WaitedTooLong) as error:
        state.dump(demo.kubectl)
        print(f"\n{timeline.table()}\n\nThe demo failed: {error}", file=sys.stderr)
        return 1
    except BaseException:
        state.dump(demo.kubectl)
        raise
    print(f"\n{timeline.table()}\n")
    print(f"Every row came back. {RESTORED} stays up to be looked at:")
    print(f"  export KUBECONFIG={found.kubeconfig}")
    print(f"  kubectl -n {demo.namespace} get cassandra")
    print("`dev/cluster down` ends the cluster.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
