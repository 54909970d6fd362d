"""SQLAlchemy models of every table: the application's, the worker's, and those of Supabase that we stand in for."""

from db.models.auth import AuthSession, Identity, MfaAmrClaim, MfaChallenge, MfaFactor, OneTimeToken, RefreshToken, User
from db.models.base import Base
from db.models.public.accounts import (
    ApiKey,
    Profile,
    UserIntegration,
    UserPreferences,
    UserProfile,
    UserSecuritySettings,
)
from db.models.public.chat import ChatExportRequest, ChatMessage, ChatSession, ChatSessionTag, UserChatAnalytics
from db.models.public.embeddings import CodeEmbedding
from db.models.public.projects import (
    FileUpload,
    Fragment,
    FragmentExecution,
    Message,
    MessageRole,
    Project,
    ProjectStatus,
)
from db.models.public.tasks import Task, TaskStatus
from db.models.public.teams import (
    BillingInfo,
    SubscriptionEvent,
    SubscriptionStatus,
    Team,
    TeamMember,
    TeamUsageLimit,
    UsageType,
    UserTeam,
    UserUsage,
)
from db.models.public.threads import ConversationThread, ThreadMessage, ThreadSummary
from db.models.public.workflows import Workflow, WorkflowExecution, WorkflowTemplate
from db.models.public.workspace import WorkspaceFile
from db.models.storage import Bucket, BucketType, MultipartUpload, MultipartUploadPart, StoredObject
from db.models.worker import CreatedObject, Lease, OrphanedFile, RemoteSandbox, Run, ScheduleSlot, Turn

__all__ = [
    "ApiKey",
    "AuthSession",
    "Base",
    "BillingInfo",
    "Bucket",
    "BucketType",
    "ChatExportRequest",
    "ChatMessage",
    "ChatSession",
    "ChatSessionTag",
    "CodeEmbedding",
    "ConversationThread",
    "CreatedObject",
    "FileUpload",
    "Fragment",
    "FragmentExecution",
    "Identity",
    "Lease",
    "Message",
    "MessageRole",
    "MfaAmrClaim",
    "MfaChallenge",
    "MfaFactor",
    "MultipartUpload",
    "MultipartUploadPart",
    "OneTimeToken",
    "OrphanedFile",
    "Profile",
    "Project",
    "ProjectStatus",
    "RefreshToken",
    "RemoteSandbox",
    "Run",
    "ScheduleSlot",
    "StoredObject",
    "SubscriptionEvent",
    "SubscriptionStatus",
    "Task",
    "TaskStatus",
    "Team",
    "TeamMember",
    "TeamUsageLimit",
    "ThreadMessage",
    "ThreadSummary",
    "Turn",
    "UsageType",
    "User",
    "UserChatAnalytics",
    "UserIntegration",
    "UserPreferences",
    "UserProfile",
    "UserSecuritySettings",
    "UserTeam",
    "UserUsage",
    "Workflow",
    "WorkflowExecution",
    "WorkflowTemplate",
    "WorkspaceFile",
]
