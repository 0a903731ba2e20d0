"""`python nodes.py N CPUS` is a Ray cluster of so many nodes on this machine's loopback, until its stdin closes.

It prints a line of JSON: the cluster's address, the process of each node's raylet, the head's first, and the directory
of their logs. It is a process of its own, since Ray reads its environment when it is imported, and Ray's processes are
to leave with it; and it imports nothing of ours, since nodes need not have it.
"""

import json
import os
import signal
import sys

#: With it Ray takes 127.0.0.1 for this machine's address, instead of resolving it to one that others reach.
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
#: A node is lost to the others within a second, not half a minute.
SYSTEM = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 200, "health_check_failure_threshold": 3}


def main() -> None:
    """Start the nodes, say where they are, and wait."""
    os.environ.update(LOOPBACK, RAY_USAGE_STATS_ENABLED="0")
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as of what a script begins with `&`, and all that it starts
    from ray.cluster_utils import Cluster

    n, cpus = map(int, sys.argv[1:])
    cluster = Cluster()
    size = {"num_cpus": cpus, "num_gpus": 0, "object_store_memory": 80 << 20}
    head = {"include_dashboard": False, "_system_config": SYSTEM}
    nodes = [cluster.add_node(**size, **({} if i else head)) for i in range(n)]
    raylets = [node.all_processes["raylet"][0].process.pid for node in nodes]
    session = cluster.head_node.get_session_dir_path()
    print(json.dumps({"address": cluster.address, "raylets": raylets, "session": session}), flush=True)
    sys.stdin.read()
    cluster.shutdown()


if __name__ == "__main__":
    main()
