"""The four kinds of ``stable.instaclustr.com/v1``: the product's contract.

``datacenter backup schedule restore`` hold the Structs, from which ``crds`` generates ``manifests/crds``.
The Structs are lenient where the API server is strict: bounds and patterns stand in the schema only, so that an object
stored before a bound was narrowed can still be read. A default is applied on reading and never written into a spec.
"""
