"""What the application keeps of each person: profile, preferences, security, connections, keys."""

from sqlalchemy import BigInteger, CheckConstraint, Identity, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import Base, Document, Id, Json, No, Now, Owner, Timestamp, Yes


class UserProfile(Base):
    """Who a person is to others; one a user."""

    __tablename__ = "user_profiles"
    __table_args__ = ({"schema": "public"},)

    id: Mapped[Id]
    user_id: Mapped[Owner] = mapped_column(unique=True)
    full_name: Mapped[str | None]
    display_name: Mapped[str | None]
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
    work_description: Mapped[str | None]
    avatar_url: Mapped[str | None]
    onboarding_completed: Mapped[No | None]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]


class UserPreferences(Base):
    """How a person wants the application; one row a user."""

    __tablename__ = "user_preferences"
    __table_args__ = (
        CheckConstraint("font_family IN ('inter', 'jetbrains-mono', 'cal-sans')", name="font_family"),
        CheckConstraint("theme IN ('light', 'dark', 'system')", name="theme"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    user_id: Mapped[Owner] = mapped_column(unique=True)
    ai_assistance: Mapped[Yes | None]
    smart_suggestions: Mapped[No | None]
    theme: Mapped[str | None] = mapped_column(server_default=text("'system'::text"))
    font_family: Mapped[str | None] = mapped_column(server_default=text("'inter'::text"))
    email_notifications: Mapped[Yes | None]
    marketing_emails: Mapped[No | None]
    security_alerts: Mapped[Yes | None]
    analytics_enabled: Mapped[Yes | None]
    data_sharing_enabled: Mapped[No | None]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]


class UserSecuritySettings(Base):
    """Two-factor codes and warnings; one row a user."""

    __tablename__ = "user_security_settings"
    __table_args__ = ({"schema": "public"},)

    id: Mapped[Id]
    user_id: Mapped[Owner] = mapped_column(unique=True)
    two_factor_enabled: Mapped[No | None]
    backup_codes: Mapped[list[str] | None]
    last_password_change: Mapped[Timestamp | None]
    login_notifications: Mapped[Yes | None]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]


class UserIntegration(Base):
    """A person's connection to another service; one a service."""

    __tablename__ = "user_integrations"
    __table_args__ = (
        CheckConstraint(
            "service_name IN ('github', 'google_drive', 'gmail', 'google_calendar', 'artifacts')", name="service_name"
        ),
        UniqueConstraint("user_id", "service_name", name="user_integrations_unique"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    user_id: Mapped[Owner]
    service_name: Mapped[str]
    is_connected: Mapped[No | None]
    connection_data: Mapped[Json | None]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]


class ApiKey(Base):
    """A key to the application's API, kept as its hash."""

    __tablename__ = "api_keys"
    __table_args__ = (
        CheckConstraint("char_length(name) >= 1", name="name"),
        CheckConstraint("char_length(key_prefix) >= 1", name="prefix"),
        Index("idx_api_keys_active", "is_active", postgresql_where=text("is_active = true")),
        Index("idx_api_keys_user_id", "user_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    user_id: Mapped[Owner]
    name: Mapped[str]
    key_hash: Mapped[str] = mapped_column(unique=True)
    key_prefix: Mapped[str]
    permissions: Mapped[Document | None]
    last_used_at: Mapped[Timestamp | None]
    expires_at: Mapped[Timestamp | None]
    is_active: Mapped[Yes | None]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]


class Profile(Base):
    """An older table of names, which the application still has."""

    __tablename__ = "profiles"
    __table_args__ = (
        Index("idx_profiles_user_id", "user_id"),
        {"schema": "public"},
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    user_id: Mapped[Owner | None]
    first_name: Mapped[str | None]
    last_name: Mapped[str | None]
