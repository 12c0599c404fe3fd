"""The CassandraDataCenter: from its spec to StatefulSets, services and configuration, and back to its status.

    run        what is known before anything is done: the object, its layout, what is observed, the restore's gate
      layout     racks, pods, names, and how many nodes may be asked for now
      observed   StatefulSets and pods, reduced to what decisions are made on
      bootstrap  whether a restore must be waited for
    children   what is made: ``builders`` and ``pod`` say how, ``meta`` with which labels and owner
    nodes      what the agents say, asked when something changed
    status     one status from all of that; ``events`` are its changes, told to people

``reconciler`` calls these in order, ``wiring`` says what wakes it. Only reconciler, children and nodes send requests;
the rest is pure.
"""
