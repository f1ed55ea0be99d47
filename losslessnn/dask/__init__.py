"""More than one machine: Dask workers encode, each chunk (or shard) of a store written by one of them.

Works with any Dask scheduler: threads in this process, processes, a `distributed` cluster, SLURM through
dask-jobqueue. The store that comes out is the same, byte for byte, as if one machine had written it.
"""

from losslessnn.dask.arrays import to_zarr
from losslessnn.dask.cluster import ClusterEncoder, cluster_pool
from losslessnn.dask.work import one_thread_per_task

__all__ = ["ClusterEncoder", "cluster_pool", "one_thread_per_task", "to_zarr"]
