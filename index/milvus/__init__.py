"""Backend: an index on Milvus."""
