"""Object storage: the port `ContentStorageClient` and its adapters (local; S3, with MinIO and GCS on it)."""
