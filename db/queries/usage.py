"""What users and teams have used, and how much a team may."""

from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from db.models import TeamUsageLimit, UserUsage
from db.queries.storable import readable, storable

MAY = text("SELECT public.can_use_feature(feature_name => :feature, team_id_param => :team, user_id_param => :me)")
COUNT = text("SELECT public.increment_usage(feature_name => :feature, team_id_param => :team, user_id_param => :me)")
"""By the names of their parameters, as the web app calls them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """How much of one thing a user used on one day, alone or for a team."""

    usage_type: str
    usage_date: date | None
    usage_count: int
    team_id: UUID | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """How much of one thing a team may use until the period ends, and has used."""

    usage_type: str
    limit_value: int
    current_usage: int
    period_start: datetime | None
    period_end: datetime | None


def may_use(session: Session, feature: str, *, team_id: UUID | None, user_id: UUID) -> bool:
    """Whether the team's limit leaves room for one more."""
    asked = {"feature": storable(feature), "team": team_id, "me": user_id}
    return bool(session.execute(MAY, asked).scalar_one())


def count(session: Session, feature: str, *, team_id: UUID | None, user_id: UUID) -> bool:
    """Count one use, if the limit leaves room for it: both in one step. False when it does not, and nothing counted."""
    asked = {"feature": storable(feature), "team": team_id, "me": user_id}
    return bool(session.execute(COUNT, asked).scalar_one())


def of_user(session: Session, user_id: UUID, *, since: date, until: date) -> list[Used]:
    """What a user used from one day to another, both included; the latest day first."""
    it = UserUsage
    wanted = (
        select(it.usage_type, it.usage_date, it.usage_count, it.team_id)
        .where(it.user_id == user_id, it.usage_date.between(since, until))
        .order_by(it.usage_date.desc(), it.usage_type, it.team_id)
    )
    return [Used(**row) for row in session.execute(wanted).mappings()]


def limits(session: Session, team_id: UUID) -> list[Limit]:
    """A team's limits, by what they limit."""
    it = TeamUsageLimit
    wanted = select(
        *(it.usage_type, it.limit_value, it.current_usage),
        *(readable(time).label(time.key) for time in (it.period_start, it.period_end)),
    ).where(it.team_id == team_id)
    return [Limit(**row) for row in session.execute(wanted.order_by(it.usage_type)).mappings()]
