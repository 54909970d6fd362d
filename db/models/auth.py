"""Supabase's schema `auth`, as far as we stand in for it where it is absent."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, Index, SmallInteger, String, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Timestamp

EMPTY = text("''::character varying")


class User(Base):
    """A person who signs in; GoTrue's table, of which we read `id` alone."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint(
            "email_change_confirm_status >= 0 AND email_change_confirm_status <= 2", name="email_change_confirm_status"
        ),
        CheckConstraint(
            r"email IS NULL OR email::text ~* '^[A-Za-z0-9._%+-]+@[A-Za-z0-9.-]+\.[A-Za-z]{2,}$'::text", name="email"
        ),
        CheckConstraint(r"phone IS NULL OR phone ~ '^\+[1-9]\d{1,14}$'::text", name="phone"),
        Index("idx_users_confirmed_at", text("confirmed_at DESC")),
        Index("idx_users_created_at", text("created_at DESC")),
        Index("idx_users_email", "email"),
        Index("idx_users_instance_id", "instance_id"),
        Index("idx_users_is_anonymous", "is_anonymous"),
        {"schema": "auth"},
    )

    instance_id: Mapped[UUID | None]
    id: Mapped[UUID] = mapped_column(primary_key=True)
    aud: Mapped[str | None] = mapped_column(String)
    role: Mapped[str | None] = mapped_column(String)
    email: Mapped[str | None] = mapped_column(String)
    encrypted_password: Mapped[str | None] = mapped_column(String)
    email_confirmed_at: Mapped[Timestamp | None]
    invited_at: Mapped[Timestamp | None]
    confirmation_token: Mapped[str | None] = mapped_column(String)
    confirmation_sent_at: Mapped[Timestamp | None]
    recovery_token: Mapped[str | None] = mapped_column(String)
    recovery_sent_at: Mapped[Timestamp | None]
    email_change_token_new: Mapped[str | None] = mapped_column(String)
    email_change: Mapped[str | None] = mapped_column(String)
    email_change_sent_at: Mapped[Timestamp | None]
    last_sign_in_at: Mapped[Timestamp | None]
    raw_app_meta_data: Mapped[dict[str, Any] | None]
    raw_user_meta_data: Mapped[dict[str, Any] | None]
    is_super_admin: Mapped[bool | None]
    created_at: Mapped[Timestamp | None]
    updated_at: Mapped[Timestamp | None]
    phone: Mapped[str | None] = mapped_column(Text, unique=True, server_default=text("NULL::character varying"))
    phone_confirmed_at: Mapped[Timestamp | None]
    phone_change: Mapped[str | None] = mapped_column(Text, server_default=EMPTY)
    phone_change_token: Mapped[str | None] = mapped_column(String, server_default=EMPTY)
    phone_change_sent_at: Mapped[Timestamp | None]
    confirmed_at: Mapped[datetime | None] = mapped_column(
        Computed("LEAST(email_confirmed_at, phone_confirmed_at)", persisted=True)
    )
    email_change_token_current: Mapped[str | None] = mapped_column(String, server_default=EMPTY)
    email_change_confirm_status: Mapped[int | None] = mapped_column(SmallInteger, server_default=text("0"))
    banned_until: Mapped[Timestamp | None]
    reauthentication_token: Mapped[str | None] = mapped_column(String, server_default=EMPTY)
    reauthentication_sent_at: Mapped[Timestamp | None]
    is_sso_user: Mapped[bool] = mapped_column(server_default=text("false"))
    deleted_at: Mapped[Timestamp | None]
    is_anonymous: Mapped[bool] = mapped_column(server_default=text("false"))
