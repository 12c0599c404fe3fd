"""Object stores behind one protocol.

    agent ─ PrefixStore ─ RetryStore ─ S3Store | FileStore | MemoryStore
                            │
                            └ ObserveStore counts below it, so that every try is seen

``base.py`` says what a store is, ``errors.py`` what can go wrong, ``body.py`` where uploaded bytes come from,
``helpers.py`` what is built on the verbs, ``registry.py`` which store a user's target means. A backend is done when
``tests/contract`` passes on it. Only ``s3.py`` and its neighbours ``s3_*.py`` import the AWS SDK.
"""
