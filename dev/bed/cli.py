"""dev/cluster: one set of verbs over the two backends."""

import argparse
import json
import os
import subprocess
from collections.abc import Sequence
from typing import Any

from dev.bed import cluster, kind, stores
from dev.bed.say import BedError, note
from dev.bed.settings import Settings, default_name


def _backend() -> Any:
    wanted = os.environ.get("CLUSTER_BACKEND", "")
    if wanted not in {"", "bed", "kind"}:
        msg = f"CLUSTER_BACKEND is bed or kind, not {wanted!r}"
        raise BedError(msg)
    if wanted == "kind" or (not wanted and kind.available()):
        return kind
    return cluster


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev/cluster", description="A Kubernetes to develop and test on.")
    parser.add_argument("--name", default=default_name(), help="of the cluster (default: %(default)s)")
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("up", help="start it, with images and MinIO; does nothing to one that is up")
    verbs.add_parser("down", help="end it and remove all that it left")
    status = verbs.add_parser("status", help="what runs and where; exit code 1 unless all of it is up")
    status.add_argument("--json", action="store_true", help="for programs")
    load = verbs.add_parser("load", help="build the images that changed and load them")
    load.add_argument("--only", choices=["cassandra", "operator"], default="all", help="one of them")
    store = verbs.add_parser("store", help="start object stores beside MinIO, which is up with the cluster")
    store.add_argument("stores", nargs="+", choices=list(stores.SERVERS), metavar="NAME", help="s3, gcs or azure")
    verbs.add_parser("kubeconfig", help="print its path")
    return parser.parse_args(arguments)


def _print(status: dict[str, Any]) -> None:
    print(f"cluster     {status['name']} ({status['backend']}): {'up' if status['up'] else 'not up'}")
    print(f"node        {status['node']['name']}: {'Ready' if status['node']['ready'] else 'not ready'}")
    print(f"apiserver   {status['apiserver']}")
    print(f"kubeconfig  {status['kubeconfig']}")
    for name, store in status["stores"].items():
        shown = f"{store['endpoint']}  ({store['user']} / {store['password']})".replace("  ( / )", "")
        print(f"{name:11} {shown if store['running'] else f'not running: dev/cluster store {name}'}")
    print(f"audit log   {status['audit_log']}")
    for name, pid in status.get("processes", {}).items():
        print(f"  {name:25} {pid or 'not running'}")


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    try:
        bed = Settings(options.name)
        if options.verb == "kubeconfig":
            print(bed.kubeconfig)
            return 0
        backend = _backend()
        if options.verb == "status":
            status = backend.status(bed)
            if options.json:
                print(json.dumps(status, indent=1))
            else:
                _print(status)
            return 0 if status["up"] else 1
        if options.verb == "load":
            backend.load(bed, options.only)
        elif options.verb == "store":
            for name in options.stores:
                backend.store(bed, name)
        else:
            getattr(backend, options.verb)(bed)
    except BedError as error:
        note(f"dev/cluster {options.verb}: {error}")
        return 1
    except subprocess.CalledProcessError as error:
        shown = (error.stderr or b"").decode() if isinstance(error.stderr, bytes) else (error.stderr or "")
        note(f"dev/cluster {options.verb}: {' '.join(map(str, error.cmd))}: code {error.returncode} {shown}")
        return 1
    return 0
