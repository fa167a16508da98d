"""What a cluster is: requests, errors, watches, caches, work queue, lease, events.

The only package that imports kubernetes_asyncio.
"""
