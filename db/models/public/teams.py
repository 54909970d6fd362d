"""Teams, their members, what they may use and have used, and who pays."""

from datetime import date
from enum import StrEnum

from sqlalchemy import CheckConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from db.models.base import EMAIL, Base, Count, Document, Id, No, Now, OfTeam, Owner, Timestamp, enumeration


class SubscriptionStatus(StrEnum):
    """How a team's subscription stands with the payment provider."""

    ACTIVE = "active"
    CANCELED = "canceled"
    PAST_DUE = "past_due"
    UNPAID = "unpaid"
    INCOMPLETE = "incomplete"


class UsageType(StrEnum):
    """What is counted: one vocabulary for what users use and teams may use."""

    API_CALLS = "api_calls"
    EXECUTION_TIME_SECONDS = "execution_time_seconds"
    FRAGMENT_EXECUTIONS = "fragment_executions"
    GITHUB_IMPORTS = "github_imports"
    PROJECTS_CREATED = "projects_created"
    STORAGE_MB = "storage_mb"


STATUS = enumeration(SubscriptionStatus, "subscription_status_enum")
USAGE = f"usage_type IN ({', '.join(repr(each.value) for each in UsageType)})"


class Team(Base):
    """People who share projects, limits and an invoice."""

    __tablename__ = "teams"
    __table_args__ = (
        CheckConstraint("char_length(name) >= 1", name="name"),
        CheckConstraint("tier IN ('free', 'pro', 'enterprise')", name="tier"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    name: Mapped[str]
    tier: Mapped[str | None] = mapped_column(server_default=text("'free'::text"))
    email: Mapped[str | None]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]
    stripe_customer_id: Mapped[str | None] = mapped_column(unique=True)
    stripe_subscription_id: Mapped[str | None] = mapped_column(unique=True)
    subscription_status: Mapped[SubscriptionStatus | None] = mapped_column(
        STATUS, server_default=text("'active'::public.subscription_status_enum")
    )
    current_period_start: Mapped[Timestamp | None]
    current_period_end: Mapped[Timestamp | None]
    cancel_at_period_end: Mapped[No | None]


class TeamMember(Base):
    """Who belongs to a team, and as what: the table that rights are read from."""

    __tablename__ = "team_members"
    __table_args__ = (
        CheckConstraint("role IN ('owner', 'admin', 'member')", name="role"),
        UniqueConstraint("team_id", "user_id", name="team_members_unique"),
        Index("idx_team_members_user_id", "user_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    team_id: Mapped[OfTeam]
    user_id: Mapped[Owner]
    role: Mapped[str]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]


class UserTeam(Base):
    """A user's teams as the application lists them, and which one is the default."""

    __tablename__ = "users_teams"
    __table_args__ = (
        UniqueConstraint("user_id", "team_id", name="users_teams_unique"),
        Index("idx_users_teams_team_id", "team_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    user_id: Mapped[Owner]
    team_id: Mapped[OfTeam]
    is_default: Mapped[No | None]
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]


class TeamUsageLimit(Base):
    """How much of one kind a team may use in a period, and has used."""

    __tablename__ = "team_usage_limits"
    __table_args__ = (
        CheckConstraint("current_usage >= 0", name="current"),
        CheckConstraint("limit_value >= 0", name="limit"),
        CheckConstraint(USAGE, name="usage_type"),
        UniqueConstraint("team_id", "usage_type", name="team_usage_limits_unique"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    team_id: Mapped[OfTeam]
    usage_type: Mapped[str]
    limit_value: Mapped[Count]
    current_usage: Mapped[Count]
    period_start: Mapped[Now | None]
    period_end: Mapped[Timestamp | None] = mapped_column(server_default=text("(now() + '1 mon'::interval)"))
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]


class UserUsage(Base):
    """How often a user used one kind on one day; one row a user, team, kind and day."""

    __tablename__ = "user_usage"
    __table_args__ = (
        CheckConstraint("usage_count >= 0", name="count"),
        CheckConstraint(USAGE, name="usage_type"),
        UniqueConstraint(
            "user_id",
            "team_id",
            "usage_type",
            "usage_date",
            name="user_usage_unique",
            postgresql_nulls_not_distinct=True,
        ),
        Index("idx_user_usage_date", text("usage_date DESC")),
        Index("idx_user_usage_type", "usage_type"),
        Index("idx_user_usage_team_id", "team_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    user_id: Mapped[Owner]
    team_id: Mapped[OfTeam | None]
    usage_type: Mapped[str]
    usage_date: Mapped[date | None] = mapped_column(server_default=text("CURRENT_DATE"))
    usage_count: Mapped[int | None] = mapped_column(server_default=text("1"))
    metadata_: Mapped[Document | None] = mapped_column("metadata")
    created_at: Mapped[Now | None]


class BillingInfo(Base):
    """Whom a team's invoice is made out to."""

    __tablename__ = "billing_info"
    __table_args__ = (
        CheckConstraint("billing_cycle IN ('monthly', 'annual')", name="billing_cycle"),
        CheckConstraint(f"company_email ~* {EMAIL}", name="email"),
        CheckConstraint("payment_method IN ('card', 'bank_transfer', 'invoice')", name="payment_method"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    team_id: Mapped[OfTeam] = mapped_column(unique=True)
    company_name: Mapped[str]
    company_email: Mapped[str]
    tax_id: Mapped[str | None]
    address: Mapped[str]
    city: Mapped[str]
    state: Mapped[str]
    postal_code: Mapped[str]
    country: Mapped[str] = mapped_column(server_default=text("'US'::text"))
    payment_method: Mapped[str] = mapped_column(server_default=text("'card'::text"))
    billing_cycle: Mapped[str] = mapped_column(server_default=text("'monthly'::text"))
    created_at: Mapped[Now | None]
    updated_at: Mapped[Now | None]


class SubscriptionEvent(Base):
    """What the payment provider told of a team's subscription."""

    __tablename__ = "subscription_events"
    __table_args__ = (
        CheckConstraint("char_length(event_type) >= 1", name="type"),
        Index("idx_subscription_events_team_id", "team_id"),
        {"schema": "public"},
    )

    id: Mapped[Id]
    team_id: Mapped[OfTeam]
    stripe_event_id: Mapped[str | None] = mapped_column(unique=True)
    event_type: Mapped[str]
    event_data: Mapped[Document]
    processed_at: Mapped[Now | None]
    created_at: Mapped[Now | None]
