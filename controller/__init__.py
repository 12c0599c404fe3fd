"""The engine: knows Kubernetes, nothing of Cassandra.

::

    API server ──watch──> store ──trigger──> queue ──worker──> reconciler ──apply──> API server

An ``Informer`` lists and watches one kind and keeps its ``Store``. A ``Controller`` turns changes in stores into keys
on its ``WorkQueue`` (``triggers``) and runs a ``Reconciler`` for each, never twice at once for one key. A ``Manager``
starts probes, informers, the election and then the controllers, and ends them in reverse.

Who reads for the first time: ``reconcile`` (what a reconciler is), ``controller``, ``queue``, ``watch``, ``manager``.
"""
