"""An index on Milvus."""
