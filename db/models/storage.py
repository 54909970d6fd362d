"""Supabase's schema `storage`: buckets, the files in them, and uploads that are still in parts."""

from enum import StrEnum
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, ForeignKey, Index, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Big, BigCount, Id, Json, No, Now, enumeration


class BucketType(StrEnum):
    """What a bucket is for."""

    STANDARD = "STANDARD"
    ANALYTICS = "ANALYTICS"


TYPE = enumeration(BucketType, "buckettype", schema="storage")


class Bucket(Base):
    """A place for files; `owner` is a user, without a foreign key, as Supabase has it."""

    __tablename__ = "buckets"
    __table_args__ = (
        CheckConstraint("file_size_limit IS NULL OR file_size_limit > 0", name="file_size_limit"),
        CheckConstraint("char_length(id) >= 1", name="id"),
        CheckConstraint("char_length(name) >= 1", name="name"),
        Index("idx_buckets_created_at", text("created_at DESC")),
        Index("idx_buckets_owner", "owner"),
        Index("idx_buckets_public", "public", postgresql_where=text("public = true")),
        {"schema": "storage"},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    owner: Mapped[UUID | None]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
    public: Mapped[No | None]
    avif_autodetection: Mapped[No | None]
    file_size_limit: Mapped[Big | None]
    allowed_mime_types: Mapped[list[str] | None]
    owner_id: Mapped[str | None]
    type: Mapped[BucketType] = mapped_column(TYPE, server_default=text("'STANDARD'::storage.buckettype"))


class StoredObject(Base):
    """A file: its row here, its bytes elsewhere. Deleted through the Storage API, never as a row alone."""

    __tablename__ = "objects"
    __table_args__ = (
        CheckConstraint("level IS NULL OR level >= 0", name="level"),
        CheckConstraint("name IS NULL OR char_length(name) >= 1", name="name"),
        Index("idx_objects_bucket_id", "bucket_id"),
        Index("idx_objects_created_at", text("created_at DESC")),
        Index("idx_objects_last_accessed_at", text("last_accessed_at DESC")),
        Index("idx_objects_metadata", "metadata", postgresql_using="gin"),
        Index("idx_objects_name", "name"),
        Index("idx_objects_owner", "owner"),
        Index("idx_objects_path_tokens", "path_tokens", postgresql_using="gin"),
        Index("idx_objects_updated_at", text("updated_at DESC")),
        {"schema": "storage"},
    )

    id: Mapped[Id]
    bucket_id: Mapped[str | None] = mapped_column(
        ForeignKey("storage.buckets.id", name="objects_bucketid_fkey", ondelete="CASCADE")
    )
    name: Mapped[str | None]
    owner: Mapped[UUID | None]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
    last_accessed_at: Mapped[Now | None]
    metadata_: Mapped[Json | None] = mapped_column("metadata")
    path_tokens: Mapped[list[str] | None] = mapped_column(Computed("string_to_array(name, '/')", persisted=True))
    version: Mapped[str | None]
    owner_id: Mapped[str | None]
    user_metadata: Mapped[Json | None]
    level: Mapped[int | None] = mapped_column(
        Computed("array_length(string_to_array(name, '/'), 1) - 1", persisted=True)
    )


class MultipartUpload(Base):
    """A large file whose parts are still arriving."""

    __tablename__ = "s3_multipart_uploads"
    __table_args__ = (
        CheckConstraint("char_length(id) >= 1", name="id"),
        CheckConstraint("char_length(key) >= 1", name="key"),
        CheckConstraint("in_progress_size >= 0", name="size"),
        Index("idx_s3_multipart_uploads_bucket_id", "bucket_id"),
        Index("idx_s3_multipart_uploads_created_at", text("created_at DESC")),
        Index("idx_s3_multipart_uploads_owner_id", "owner_id"),
        {"schema": "storage"},
    )

    id: Mapped[str] = mapped_column(primary_key=True)
    in_progress_size: Mapped[BigCount]
    upload_signature: Mapped[str]
    bucket_id: Mapped[str] = mapped_column(ForeignKey("storage.buckets.id", ondelete="CASCADE"))
    key: Mapped[str]
    version: Mapped[str]
    owner_id: Mapped[str | None]
    created_at: Mapped[Now]
    user_metadata: Mapped[Json | None]


class MultipartUploadPart(Base):
    """One part that has arrived."""

    __tablename__ = "s3_multipart_uploads_parts"
    __table_args__ = (
        CheckConstraint("char_length(etag) >= 1", name="etag"),
        CheckConstraint("part_number >= 1", name="part_number"),
        CheckConstraint("size >= 0", name="size"),
        Index("idx_s3_multipart_uploads_parts_bucket_id", "bucket_id"),
        Index("idx_s3_multipart_uploads_parts_upload_id", "upload_id"),
        {"schema": "storage"},
    )

    id: Mapped[Id]
    upload_id: Mapped[str] = mapped_column(ForeignKey("storage.s3_multipart_uploads.id", ondelete="CASCADE"))
    size: Mapped[BigCount]
    part_number: Mapped[int]
    bucket_id: Mapped[str] = mapped_column(ForeignKey("storage.buckets.id", ondelete="CASCADE"))
    key: Mapped[str]
    etag: Mapped[str]
    owner_id: Mapped[str | None]
    version: Mapped[str]
    created_at: Mapped[Now]
