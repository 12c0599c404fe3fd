"""The CassandraDataCenter: from its spec to StatefulSets, services and configuration, and back to its status.

Data passes in this order: ``checks`` (is the spec one we can serve) -> ``bootstrap`` (is there a restore to wait for)
-> ``layout`` (which racks, which pods, how many) -> ``builders`` and ``pod`` (the objects) -> ``observed`` (what is
really there) -> ``nodes`` (what the agents say) -> ``status`` (one status from all of that). All of those are pure but
``nodes``; ``reconciler`` alone does the requests, and ``wiring`` says what wakes it.
"""
