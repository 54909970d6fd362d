"""Supabase's schema `auth`, of which we stand in where it is absent; GoTrue's own, so nothing here but its columns."""

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import CheckConstraint, Computed, DateTime, ForeignKey, Index, SmallInteger, func, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import EMAIL, Address, Base, Big, Id, Json, No, Owner, Timestamp, Varchar

EMPTY = text("''::character varying")
IS_EMAIL = f"email IS NULL OR email ~* {EMAIL}"


class User(Base):
    """A person who signs in; GoTrue's table, of which we read `id` alone."""

    __tablename__ = "users"
    __table_args__ = (
        CheckConstraint(
            "email_change_confirm_status >= 0 AND email_change_confirm_status <= 2", name="email_change_confirm_status"
        ),
        CheckConstraint(IS_EMAIL, name="email"),
        CheckConstraint(r"phone IS NULL OR phone ~ '^\+[1-9]\d{1,14}$'", name="phone"),
        Index("idx_users_confirmed_at", text("confirmed_at DESC")),
        Index("idx_users_created_at", text("created_at DESC")),
        Index("idx_users_email", "email"),
        Index("idx_users_instance_id", "instance_id"),
        Index("idx_users_is_anonymous", "is_anonymous"),
        {"schema": "auth"},
    )

    instance_id: Mapped[UUID | None]
    id: Mapped[UUID] = mapped_column(primary_key=True)
    aud: Mapped[Varchar | None]
    role: Mapped[Varchar | None]
    email: Mapped[Varchar | None]
    encrypted_password: Mapped[Varchar | None]
    email_confirmed_at: Mapped[Timestamp | None]
    invited_at: Mapped[Timestamp | None]
    confirmation_token: Mapped[Varchar | None]
    confirmation_sent_at: Mapped[Timestamp | None]
    recovery_token: Mapped[Varchar | None]
    recovery_sent_at: Mapped[Timestamp | None]
    email_change_token_new: Mapped[Varchar | None]
    email_change: Mapped[Varchar | None]
    email_change_sent_at: Mapped[Timestamp | None]
    last_sign_in_at: Mapped[Timestamp | None]
    raw_app_meta_data: Mapped[Json | None]
    raw_user_meta_data: Mapped[Json | None]
    is_super_admin: Mapped[bool | None]
    created_at: Mapped[Timestamp | None]
    updated_at: Mapped[Timestamp | None]
    phone: Mapped[str | None] = mapped_column(unique=True, server_default=text("NULL::character varying"))
    phone_confirmed_at: Mapped[Timestamp | None]
    phone_change: Mapped[str | None] = mapped_column(server_default=EMPTY)
    phone_change_token: Mapped[Varchar | None] = mapped_column(server_default=EMPTY)
    phone_change_sent_at: Mapped[Timestamp | None]
    confirmed_at: Mapped[datetime | None] = mapped_column(
        Computed("LEAST(email_confirmed_at, phone_confirmed_at)", persisted=True)
    )
    email_change_token_current: Mapped[Varchar | None] = mapped_column(server_default=EMPTY)
    email_change_confirm_status: Mapped[int | None] = mapped_column(SmallInteger, server_default=text("0"))
    banned_until: Mapped[Timestamp | None]
    reauthentication_token: Mapped[Varchar | None] = mapped_column(server_default=EMPTY)
    reauthentication_sent_at: Mapped[Timestamp | None]
    is_sso_user: Mapped[No]
    deleted_at: Mapped[Timestamp | None]
    is_anonymous: Mapped[No]


class AuthSession(Base):
    """One sign-in on one device. `not_after` is NULL unless a single sign-on says otherwise: then it never expires."""

    __tablename__ = "sessions"
    __table_args__ = (
        CheckConstraint("aal IN ('aal1', 'aal2')", name="aal"),
        Index("idx_sessions_not_after", text("not_after DESC")),
        Index("idx_sessions_updated_at", text("updated_at DESC")),
        Index("idx_sessions_user_id", "user_id"),
        {"schema": "auth"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[Owner]
    created_at: Mapped[Timestamp | None]
    updated_at: Mapped[Timestamp | None]
    factor_id: Mapped[UUID | None]
    aal: Mapped[str | None]
    not_after: Mapped[Timestamp | None]
    refreshed_at: Mapped[datetime | None] = mapped_column(DateTime(timezone=False))
    user_agent: Mapped[str | None]
    ip: Mapped[Address | None]
    tag: Mapped[str | None]


class Identity(Base):
    """One way for a user to sign in: a provider, and who they are to it."""

    __tablename__ = "identities"
    __table_args__ = (
        CheckConstraint(IS_EMAIL, name="email"),
        Index("idx_identities_email", "email"),
        Index("idx_identities_provider", "provider"),
        Index("idx_identities_user_id", "user_id"),
        {"schema": "auth"},
    )

    provider_id: Mapped[str]
    user_id: Mapped[Owner]
    identity_data: Mapped[Any] = mapped_column(JSONB)
    provider: Mapped[str]
    last_sign_in_at: Mapped[Timestamp | None]
    created_at: Mapped[Timestamp | None]
    updated_at: Mapped[Timestamp | None]
    email: Mapped[str | None] = mapped_column(Computed("lower(identity_data ->> 'email')", persisted=True))
    id: Mapped[Id]


class RefreshToken(Base):
    """What a session is renewed with. `user_id` is text, and `revoked` may be NULL."""

    __tablename__ = "refresh_tokens"
    __table_args__ = (
        Index("idx_refresh_tokens_instance_id", "instance_id"),
        Index("idx_refresh_tokens_session_id", "session_id"),
        Index("idx_refresh_tokens_updated_at", text("updated_at DESC")),
        Index("idx_refresh_tokens_user_id", "user_id"),
        {"schema": "auth"},
    )

    instance_id: Mapped[UUID | None]
    id: Mapped[Big] = mapped_column(primary_key=True)
    token: Mapped[Varchar | None] = mapped_column(unique=True)
    user_id: Mapped[Varchar | None]
    revoked: Mapped[bool | None]
    created_at: Mapped[Timestamp | None]
    updated_at: Mapped[Timestamp | None]
    parent: Mapped[Varchar | None]
    session_id: Mapped[UUID | None] = mapped_column(ForeignKey("auth.sessions.id", ondelete="CASCADE"))


class MfaFactor(Base):
    """A second factor of a user."""

    __tablename__ = "mfa_factors"
    __table_args__ = (
        CheckConstraint("status IN ('unverified', 'verified')", name="status"),
        CheckConstraint("factor_type IN ('totp', 'webauthn', 'phone')", name="type"),
        Index("idx_mfa_factors_user_id_created_at", "user_id", "created_at"),
        {"schema": "auth"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[Owner]
    friendly_name: Mapped[str | None]
    factor_type: Mapped[str]
    status: Mapped[str]
    created_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp]
    secret: Mapped[str | None]
    phone: Mapped[str | None]
    last_challenged_at: Mapped[Timestamp | None] = mapped_column(unique=True)
    web_authn_credential: Mapped[Json | None]
    web_authn_aaguid: Mapped[UUID | None]


class MfaChallenge(Base):
    """A question put to a second factor."""

    __tablename__ = "mfa_challenges"
    __table_args__ = (
        Index("idx_mfa_challenges_factor_id", "factor_id"),
        {"schema": "auth"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    factor_id: Mapped[UUID] = mapped_column(
        ForeignKey("auth.mfa_factors.id", name="mfa_challenges_auth_factor_id_fkey", ondelete="CASCADE")
    )
    created_at: Mapped[Timestamp]
    verified_at: Mapped[Timestamp | None]
    ip_address: Mapped[Address]
    otp_code: Mapped[str | None]
    web_authn_session_data: Mapped[Json | None]


class MfaAmrClaim(Base):
    """By which method a session was authenticated."""

    __tablename__ = "mfa_amr_claims"
    __table_args__ = (
        Index("idx_mfa_amr_claims_session_id", "session_id"),
        {"schema": "auth"},
    )

    session_id: Mapped[UUID] = mapped_column(ForeignKey("auth.sessions.id", ondelete="CASCADE"))
    created_at: Mapped[Timestamp]
    updated_at: Mapped[Timestamp]
    authentication_method: Mapped[str]
    id: Mapped[UUID] = mapped_column(primary_key=True)


class OneTimeToken(Base):
    """A token of a mail or message, good for one use."""

    __tablename__ = "one_time_tokens"
    __table_args__ = (
        CheckConstraint("char_length(token_hash) > 0", name="token_hash"),
        CheckConstraint(
            "token_type IN ('confirmation_token', 'reauthentication_token', 'recovery_token', "
            "'email_change_token_new', 'email_change_token_current', 'phone_change_token')",
            name="type",
        ),
        Index("idx_one_time_tokens_relates_to", "relates_to"),
        Index("idx_one_time_tokens_token_hash", "token_hash"),
        Index("idx_one_time_tokens_user_id", "user_id"),
        {"schema": "auth"},
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[Owner]
    token_type: Mapped[str]
    token_hash: Mapped[str]
    relates_to: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=False), server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(DateTime(timezone=False), server_default=func.now())
