// Made by scripts/gen_console_types.py (`make protos`) from the REST API's models.

export interface Accepted {
  "status": "accepted";
  "process_id": string;
  "request_id": string;
  "process_type": string;
}

export interface Account {
  "account_id": string;
  "phone_id": string | null;
  "app": string;
  "active": boolean;
  "condition": string;
  "condition_reason": string;
}

export interface AccountList {
  "accounts": Account[];
}

export interface ActiveTarget {
  "process_id": string;
  "phone_id": string | null;
  "account_id": string | null;
  "queue_item_id": string | null;
  "capability_request_id": string;
}

export interface AddSchedule {
  "reason": string;
  "name": string;
  "cron": string;
  "zone": string;
  "jitter_seconds"?: number;
  "catch_up"?: string;
  "overlap"?: string;
  "start_within_seconds"?: number | null;
  "request": ScheduledRequest;
}

export interface Agent {
  "agent_id": string;
  "version": string;
  "runtime": string;
  "connected": boolean;
  "last_heartbeat_at": string | null;
  "phones": number;
  "certificate_expires_at": string | null;
  "drain_since": string | null;
  "drain_by": string;
  "drain_reason": string;
}

export interface AgentList {
  "agents": Agent[];
}

export interface Alert {
  "check": string;
  "severity": string;
  "since": string;
  "problems": AlertProblem[];
}

export interface AlertEvent {
  "sequence": number;
  "delivery_id": string;
  "event_type": string;
  "text": string;
  "status": DeliveryState;
  "attempts": number;
  "emitted_at": string | null;
  "due_at": string | null;
  "settled_at": string | null;
  "last_error": string | null;
}

export interface AlertEventList {
  "receiver": string | null;
  "events": AlertEvent[];
}

export interface AlertProblem {
  "text": string;
  "remedy": string;
}

export interface AlertsChanged {
  "event_type": string;
  "emitted_at": string;
  "sequence": number;
  "farm": string;
  "text": string;
  "turned_on": string[];
  "turned_off": string[];
  "severity_changed": string[];
  "alerts": Alert[];
}

export interface Alive {
  "status": "ok";
}

export interface ApiKey {
  "key_id": string;
  "name": string;
  "scopes": string[];
  "created_at": string | null;
  "created_by": string;
  "expires_at": string | null;
  "revoked_at": string | null;
  "last_used_at": string | null;
}

export interface ApiKeyList {
  "keys": ApiKey[];
}

export interface AppVerification {
  "app": string;
  "profile_version": string;
  "live_verified": boolean;
  "verified_at": string | null;
  "verified_by": string | null;
  "run_id": string | null;
  "process_id": string | null;
}

export interface Attempt {
  "attempt": number;
  "run_id": string;
  "phone_id": string | null;
  "account_id": string | null;
  "agent_id": string | null;
  "status": string;
  "outcome": string | null;
  "container": string | null;
  "claimed_at": string | null;
  "started_at": string | null;
  "ended_at": string | null;
}

export interface AuditEntry {
  "at": string | null;
  "actor": string;
  "verb": string;
  "subject": string;
  "reason": string;
}

export interface AuditList {
  "entries": AuditEntry[];
  "next_cursor": string | null;
}

export interface Because {
  "reason": string;
}

export interface Callback {
  "url": string;
  "metadata"?: Record<string, any>;
}

export interface Cancel {
  "reason": string;
  "requested_by": string | RequestedBy;
  "strategy"?: string;
  "force_after_seconds"?: number;
}

export interface CancelContent {
  "content_id": string;
  "account_id": string;
  "reason": string;
}

export interface Cancelled {
  "status": string;
  "cancelled_queue_item_ids": string[];
  "active_queue_item_ids": string[];
  "active_target": ActiveTarget;
  "termination": Termination;
  "process": CancelledProcess;
}

export interface CancelledProcess {
  "process_id": string;
  "status": ProcessStatus;
}

export interface Capability {
  "name": string;
  "description": string;
  "modes": string[];
  "routings": string[];
  "endpoint": string;
  "inputs_schema": Record<string, any>;
  "can_be_verified": boolean;
  "apps": AppVerification[];
}

export interface CapabilityList {
  "capabilities": Capability[];
}

export interface ChangeGroup {
  "reason"?: string;
  "add_ids"?: string[];
  "remove_ids"?: string[];
}

export interface CheckProfile {
  "phone_id": string;
  "account_id"?: string | null;
  "requested_by": string | RequestedBy;
  "name": string;
  "profile_toml": string;
}

export interface ContentCancelled {
  "status": "cancelled";
  "queue_item_id": string;
  "previous_status": ItemState;
}

export interface CreateKey {
  "name": string;
  "scopes": string[];
  "expires_at"?: string | null;
}

export interface Delivery {
  "delivery_id": string;
  "sequence": number;
  "milestone": Milestone;
  "url": string;
  "status": DeliveryState;
  "attempts": number;
  "emitted_at": string | null;
  "due_at": string | null;
  "settled_at": string | null;
  "last_error": string | null;
  "log": DeliveryAttempt[];
}

export interface DeliveryAttempt {
  "attempt": number;
  "ended_at": string | null;
  "outcome": string;
  "http_status": number | null;
  "error": string | null;
  "gateway_id": string;
}

export interface DeliveryList {
  "process_id": string;
  "deliveries": Delivery[];
}

export type DeliveryState = string;

export interface DryRun {
  "status": "dry_run";
  "process_id": null;
  "request_id": string;
  "process_type": string;
  "items_planned": number;
}

export interface Duplicate {
  "status": "accepted";
  "process_id": string;
  "request_id": string;
  "process_type": string;
  "duplicate": true;
  "process_status": ProcessStatus;
  "request_differs"?: boolean;
}

export type Enqueue = EnqueueFypWarmup | EnqueueInstallApk | EnqueueKeywordWarmup | EnqueueMaintenance | EnqueueOpenUrl | EnqueueReadProperties | EnqueueRunSteps | EnqueueTakeScreenshot;

export interface EnqueueFypWarmup {
  "request_id": string;
  "capability": "fyp_warmup";
  "mode": string;
  "target": Target;
  "inputs": FypWarmupInputs;
  "callback": Callback;
  "requested_by": RequestedBy;
  "priority"?: number | null;
  "not_before"?: string | null;
  "deadline"?: string | null;
  "dry_run"?: boolean;
}

export interface EnqueueInstallApk {
  "request_id": string;
  "capability": "install_apk";
  "mode": string;
  "target": Target;
  "inputs": InstallApkInputs;
  "callback": Callback;
  "requested_by": RequestedBy;
  "priority"?: number | null;
  "not_before"?: string | null;
  "deadline"?: string | null;
  "dry_run"?: boolean;
}

export interface EnqueueKeywordWarmup {
  "request_id": string;
  "capability": "keyword_warmup";
  "mode": string;
  "target": Target;
  "inputs": KeywordWarmupInputs;
  "callback": Callback;
  "requested_by": RequestedBy;
  "priority"?: number | null;
  "not_before"?: string | null;
  "deadline"?: string | null;
  "dry_run"?: boolean;
}

export interface EnqueueMaintenance {
  "request_id": string;
  "capability": "maintenance";
  "mode": string;
  "target": Target;
  "inputs": MaintenanceInputs;
  "callback": Callback;
  "requested_by": RequestedBy;
  "priority"?: number | null;
  "not_before"?: string | null;
  "deadline"?: string | null;
  "dry_run"?: boolean;
}

export interface EnqueueOpenUrl {
  "request_id": string;
  "capability": "open_url";
  "mode": string;
  "target": Target;
  "inputs": OpenUrlInputs;
  "callback": Callback;
  "requested_by": RequestedBy;
  "priority"?: number | null;
  "not_before"?: string | null;
  "deadline"?: string | null;
  "dry_run"?: boolean;
}

export interface EnqueueReadProperties {
  "request_id": string;
  "capability": "read_properties";
  "mode": string;
  "target": Target;
  "inputs": ReadPropertiesInputs;
  "callback": Callback;
  "requested_by": RequestedBy;
  "priority"?: number | null;
  "not_before"?: string | null;
  "deadline"?: string | null;
  "dry_run"?: boolean;
}

export interface EnqueueRunSteps {
  "request_id": string;
  "capability": "run_steps";
  "mode": string;
  "target": Target;
  "inputs": RunStepsInputs;
  "callback": Callback;
  "requested_by": RequestedBy;
  "priority"?: number | null;
  "not_before"?: string | null;
  "deadline"?: string | null;
  "dry_run"?: boolean;
}

export interface EnqueueTakeScreenshot {
  "request_id": string;
  "capability": "take_screenshot";
  "mode": string;
  "target": Target;
  "inputs": TakeScreenshotInputs;
  "callback": Callback;
  "requested_by": RequestedBy;
  "priority"?: number | null;
  "not_before"?: string | null;
  "deadline"?: string | null;
  "dry_run"?: boolean;
}

export interface Evidence {
  "evidence_id": string;
  "queue_item_id": string | null;
  "run_id": string;
  "attempt": number;
  "name": string;
  "kind": string;
  "bytes": number;
  "sha256": string;
  "truncated": boolean;
  "action_index": number | null;
  "received_at": string | null;
  "removed_at": string | null;
  "removed_why": string | null;
  "url": string;
}

export interface EvidenceList {
  "process_id": string;
  "evidence": Evidence[];
  "runs": RunEvidence[];
}

export interface Examination {
  "verdict": Verdict;
  "summary"?: string;
  "findings": Finding[];
}

export interface Explanation {
  "process_id": string;
  "status": ProcessStatus;
  "summary": string;
  "reasons": ReasonCount[];
  "items": ItemExplanation[];
}

export interface FailingReceiver {
  "receiver": string;
  "waiting": number;
  "since": string;
  "process_id": string;
  "error": string;
}

export interface FailingReceiverList {
  "receivers": FailingReceiver[];
}

export type FailureClass = string;

export interface FarmReset {
  "reason": string;
}

export interface FieldError {
  "field": string;
  "message": string;
}

export interface Finding {
  "check": string;
  "verdict": Verdict;
  "text": string;
  "remedy": string;
}

export interface Firing {
  "instant": string | null;
  "at": string | null;
  "outcome": FiringOutcome;
  "process_id": string | null;
  "reason": string;
  "message": string;
}

export type FiringOutcome = string;

export interface FypWarmupInputs {
  "judge_prompt": string;
  "max_videos"?: number | null;
  "watch_seconds"?: number | null;
  "app"?: string | null;
}

export interface Group {
  "kind": string;
  "name": string;
  "member_ids": string[];
  "clean_up": string[] | null;
}

export interface GroupList {
  "groups": Group[];
}

export interface HandsNeeded {
  "phone_id": string | null;
  "agent_id": string;
  "adb_serial": string;
  "reason": string;
  "since": string | null;
}

export interface HandsNeededList {
  "needed": HandsNeeded[];
}

export interface Hold {
  "process_id": string;
  "phone_id": string;
  "agent_id": string | null;
  "state": string;
  "address": string | null;
  "until": string | null;
  "why": string;
}

export interface HoldPhone {
  "reason": string;
  "seconds"?: number;
  "wait_seconds"?: number;
}

export interface Host {
  "agent_id": string;
  "connected": boolean;
  "heard_at": string | null;
  "withheld": string;
  "withheld_since": string | null;
  "incidents": Incident[];
}

export interface Incident {
  "agent_id": string;
  "incident_id": string;
  "kind": string;
  "error": string;
  "began_at": string | null;
  "ended_at": string | null;
  "phones": string[];
  "seen_by": string;
}

export interface IncidentList {
  "incidents": Incident[];
}

export interface Ingest {
  "content_id": string;
  "account_id": string;
  "video_path": string;
  "caption": string;
  "hashtags"?: string[];
  "sound_id"?: string | null;
  "cover_image_path"?: string | null;
  "callback_url"?: string | null;
  "scheduling_hint"?: string | null;
  "metadata"?: Record<string, any>;
}

export interface Ingested {
  "status": string;
  "queue_item_id": string;
  "content_id": string;
  "account_id": string;
  "queue_status": ItemState;
}

export interface Inspection {
  "picture": string;
  "width": number;
  "height": number;
  "taken_at": string;
  "nodes": Node[];
  "tree_refused": string | null;
  "moved": boolean;
}

export interface InstallApkInputs {
  "apk_url": string;
  "sha256": string;
  "package": string;
}

export interface Invitation {
  "role": string;
  "member_id": string | null;
  "token": string;
  "expires_at": string | null;
}

export interface Invite {
  "reason"?: string;
  "role"?: string;
  "member_id"?: string | null;
  "good_for_seconds"?: number;
}

export interface ItemExplanation {
  "queue_item_id": string;
  "status": ItemState;
  "ready_at": string | null;
  "deadline_at": string | null;
  "deadline_given": boolean;
  "items_ahead": number;
  "reasons": ReasonCount[];
  "phones": PhoneReason[];
}

export interface ItemProgress {
  "queue_item_id": string;
  "phone_id": string | null;
  "account_id": string | null;
  "status": ItemState;
  "actions_done": number;
  "actions_total": number;
  "deadline_at": string | null;
  "deadline_given": boolean;
}

export type ItemState = string;

export interface KeywordWarmupInputs {
  "keywords": string[];
  "videos_per_keyword"?: number | null;
  "watch_seconds"?: number | null;
  "app"?: string | null;
}

export interface Limit {
  "kind": LimitKind;
  "scope": LimitScope;
  "name": string | null;
  "value": number;
  "zone": string | null;
  "since": string | null;
  "by": string;
  "reason": string;
}

export type LimitKind = string;

export interface LimitList {
  "limits": Limit[];
}

export interface LimitRemoved {
  "kind": string;
  "scope": string;
  "name": string | null;
  "removed": boolean;
}

export type LimitScope = string;

export interface LinkedIds {
  "queue_item_ids": string[];
  "completed_queue_item_ids": string[];
}

export interface LogIn {
  "key"?: string | null;
  "ticket"?: string | null;
}

export interface Maintenance {
  "request_id": string;
  "account_id": string;
  "inputs": MaintenanceInputs;
  "callback": Callback;
  "requested_by": RequestedBy;
}

export interface MaintenanceInputs {
  "steps": Record<string, any>[];
  "metadata"?: Record<string, any> | null;
  "app"?: string | null;
}

export interface MemberRevoked {
  "role": string;
  "member_id": string;
  "certificates": number;
}

export type Milestone = string;

export interface NewApiKey {
  "key_id": string;
  "name": string;
  "scopes": string[];
  "created_at": string | null;
  "created_by": string;
  "expires_at": string | null;
  "revoked_at": string | null;
  "last_used_at": string | null;
  "secret": string;
}

export interface NextRun {
  "instant": string | null;
  "due_at": string | null;
}

export interface NoProgress {
}

export interface Node {
  "parent": number;
  "class_name": string;
  "text": string;
  "resource_id": string;
  "description": string;
  "package": string;
  "bounds": number[];
  "clickable": boolean;
  "enabled": boolean;
  "checked": boolean;
  "focused": boolean;
  "selected": boolean;
  "scrollable": boolean;
  "password": boolean;
}

export interface OpenUrlInputs {
  "url": string;
  "seconds"?: number | null;
}

export interface PartialProgress {
  "items_total": number;
  "items_completed": number;
  "items_failed": number;
  "items_cancelled": number;
  "items": ItemProgress[];
}

export interface Pause {
  "scope": string;
  "name": string | null;
  "since": string | null;
  "by": string;
  "reason": string;
}

export interface PauseList {
  "pauses": Pause[];
}

export interface PauseWork {
  "scope": string;
  "name"?: string | null;
  "reason": string;
  "stop"?: boolean;
}

export interface Paused {
  "scope": string;
  "name": string | null;
  "since": string | null;
  "by": string;
  "reason": string;
  "stopped": number;
  "waiting": number;
  "deadlines_soon": number;
  "first_deadline_at": string | null;
}

export interface PerhapsBecause {
  "reason"?: string;
}

export interface Phone {
  "phone_id": string;
  "serialno": string;
  "adb_serial": string;
  "model": string;
  "android_release": string;
  "agent_id": string;
  "transport": PhoneTransport;
  "readiness": PhoneReadiness;
  "readiness_reason": string;
  "health": PhoneHealth;
  "health_reason": string;
  "lease": PhoneLease;
  "intent": PhoneIntent;
  "offered": boolean;
  "process_id": string | null;
  "run_id": string | null;
  "health_until": string | null;
  "cooling_until": string | null;
  "needs_hands": string;
  "reasons": PhoneBlocker[];
  "needs_hands_since": string | null;
  "since": string | null;
  "process_type": string | null;
  "account_id": string | null;
  "lease_epoch": number | null;
  "agent_connected": boolean;
  "agent_drain": string;
  "warnings": string[];
}

export interface PhoneAxis {
  "axis": string;
  "value": string;
  "reason": string;
  "since": string | null;
  "by": string;
}

export interface PhoneBlocker {
  "reason": string;
  "detail": string;
  "remedy": string;
  "until": string | null;
}

export interface PhoneCounts {
  "total": number;
  "offered": number;
  "at_work": number;
  "withheld": number;
  "needs_hands": number;
}

export interface PhoneDetails {
  "phone": Phone;
  "axes": PhoneAxis[];
  "stages": ReadinessStage[];
  "battery_percent": number | null;
  "battery_celsius": number | null;
  "storage_free_bytes": number | null;
  "looked_at": string | null;
  "rounds": number;
  "failures": PhoneFailure[];
  "host": Host;
  "recovery": AuditEntry[];
  "audit": AuditEntry[];
  "windows": Window[];
}

export interface PhoneFailure {
  "at": string | null;
  "blame": string;
  "code": string;
  "message": string;
  "run_id": string;
  "process_id": string;
  "counts": boolean;
}

export type PhoneHealth = string;

export type PhoneIntent = string;

export type PhoneLease = string;

export interface PhoneList {
  "phones": Phone[];
  "counts": PhoneCounts;
}

export type PhoneReadiness = string;

export interface PhoneReason {
  "phone_id": string;
  "reason": string;
  "detail": string;
}

export type PhoneTransport = string;

export interface PlannedAction {
  "index": number;
  "kind": string;
  "limit_seconds": number;
  "repeat": string;
  "status": string;
}

export interface ProblemDocument {
  "type": string;
  "title": string;
  "status": number;
  "detail": string;
  "error": string;
  "errors": FieldError[];
}

export interface ProcessError {
  "code": string;
  "message": string;
  "class": FailureClass;
  "queue_item_id": string | null;
  "action": string | null;
  "attempt": number;
}

export interface ProcessEvent {
  "emitted_at": string;
  "process": ProcessRecord;
  "transitions": Transition[];
}

export interface ProcessList {
  "processes": ProcessRecord[];
  "next_cursor": string | null;
}

export interface ProcessMoved {
  "process_id": string;
  "process_type": string;
  "request_id": string | null;
  "system": string;
  "status": ProcessStatus;
  "created_at": string | null;
  "finished_at": string | null;
  "at": string | null;
  "queue_item_id": string | null;
  "to_state": string;
  "actor": string;
  "reason": string;
  "phone_id": string | null;
  "account_id": string | null;
}

export interface ProcessRecord {
  "process_id": string;
  "process_type": string;
  "request_id": string | null;
  "status": ProcessStatus;
  "target": RecordTarget;
  "requested_by": RecordRequestedBy;
  "callback": RecordCallback | null;
  "result": Record<string, any>;
  "error": ProcessError | null;
  "timestamps": Timestamps;
  "linked_ids": LinkedIds;
  "partial_progress": PartialProgress | NoProgress;
  "trace_id": string | null;
  "outcome": string | null;
}

export type ProcessStatus = string;

export interface ProcessUpdated {
  "event_type"?: "process.updated";
  "milestone": Milestone;
  "emitted_at": string;
  "sequence": number;
  "process": ProcessRecord;
}

export interface PutAccount {
  "phone_id": string | null;
  "app": string;
  "active"?: boolean;
  "condition"?: string;
  "condition_reason"?: string;
}

export interface PutAccountOfMany {
  "phone_id": string | null;
  "app": string;
  "active"?: boolean;
  "condition"?: string;
  "condition_reason"?: string;
  "account_id": string;
}

export interface PutAccounts {
  "accounts": PutAccountOfMany[];
}

export interface PutCleanUp {
  "reason"?: string;
  "steps": string[] | null;
}

export interface PutGroup {
  "reason"?: string;
  "member_ids": string[];
}

export interface PutLimit {
  "reason": string;
  "kind": string;
  "scope": string;
  "name"?: string | null;
  "value": number;
  "zone"?: string | null;
}

export interface PutWindow {
  "scope": string;
  "name": string;
  "reason": string;
  "zone": string;
  "hours": string[];
  "may_overrun"?: boolean;
}

export interface QueueItem {
  "queue_item_id": string;
  "process_id": string;
  "process_type": string;
  "status": ItemState;
  "priority": number;
  "created_at": string | null;
  "ready_at": string | null;
  "deadline_at": string | null;
  "deadline_given": boolean;
  "finished_at": string | null;
  "phone_id": string | null;
  "account_id": string | null;
  "app": string | null;
  "profile_version": string | null;
  "attempt": number;
  "work_failures": number;
  "infra_failures": number;
  "actions": PlannedAction[];
  "attempts": Attempt[];
  "error": ProcessError | null;
  "outputs": Record<string, any>;
}

export interface ReadPropertiesInputs {
  "names": string[];
}

export interface ReadinessStage {
  "name": string;
  "state": string;
  "seconds": number;
  "limit_seconds": number;
  "error": string;
}

export interface Ready {
  "status": "ready";
}

export interface ReasonCount {
  "reason": string;
  "count": number;
  "remedy": string;
}

export interface RecordCallback {
  "url": string;
  "metadata": Record<string, any>;
}

export interface RecordRequestedBy {
  "system": string;
  "user": string | null;
  "metadata": Record<string, any>;
}

export interface RecordTarget {
  "account_id": string | null;
  "phone_id": string | null;
}

export interface ReleasePhone {
  "reason": string;
  "epoch": number;
}

export interface RemoveLimit {
  "reason"?: string;
  "kind": string;
  "scope": string;
  "name"?: string | null;
}

export interface RemoveWindow {
  "scope": string;
  "name": string;
  "reason"?: string;
}

export interface Replay {
  "sequences"?: number[] | null;
}

export interface ReplayAlertEvent {
  "sequence": number;
}

export interface Replayed {
  "process_id": string;
  "sequences": number[];
}

export interface RequestedBy {
  "system": string;
  "user"?: string | null;
  "metadata"?: Record<string, any>;
}

export interface Rerun {
  "process_id": string;
  "request_id": string | null;
  "items": number;
  "already": boolean;
}

export interface RerunProcess {
  "reason": string;
  "failed_only"?: boolean;
  "not_posted"?: boolean;
}

export interface Resume {
  "scope": string;
  "name"?: string | null;
  "reason"?: string;
}

export interface Resumed {
  "scope": string;
  "name": string | null;
  "resumed": boolean;
}

export interface RunEvidence {
  "run_id": string;
  "queue_item_id": string | null;
  "attempt": number;
  "complete": boolean;
}

export interface RunStepsInputs {
  "steps": Record<string, any>[];
  "component"?: string | null;
}

export interface Schedule {
  "schedule_id": string;
  "name": string;
  "cron": string;
  "zone": string;
  "jitter_seconds": number;
  "catch_up": string;
  "overlap": string;
  "start_within_seconds": number | null;
  "request": ScheduledWork;
  "paused": boolean;
  "next_at": string | null;
  "due_at": string | null;
  "last_process_id": string | null;
  "problem": string;
  "created_at": string | null;
  "created_by": string;
}

export interface ScheduleDeleted {
  "name": string;
}

export interface ScheduleDetails {
  "schedule": Schedule;
  "next_runs": NextRun[];
  "firings": Firing[];
}

export interface ScheduleList {
  "schedules": Schedule[];
}

export interface ScheduledRequest {
  "capability": string;
  "mode": string;
  "target": Target;
  "inputs": Record<string, any>;
  "callback"?: Callback | null;
  "requested_by": RequestedBy;
  "priority"?: number | null;
}

export interface ScheduledWork {
  "capability": string;
  "mode": string;
  "target": Record<string, any>;
  "inputs": Record<string, any>;
  "callback": RecordCallback | null;
  "requested_by": RecordRequestedBy;
  "priority": number;
}

export interface Session {
  "name": string;
  "scopes": string[];
  "expires_at": string | null;
}

export interface Snapshot {
  "account_id": string;
  "ugc_account_id": string;
  "snapshot_id": string;
  "strategy_version": number;
  "content_hash": string;
  "strategy_synced_at": string;
  "personality": Record<string, any>;
  "stage"?: string | null;
  "active_action"?: string | null;
  "active_skills"?: Record<string, any>[];
}

export interface SnapshotIgnored {
  "status": "ignored_stale";
  "account_id": string;
  "snapshot_id": string;
  "strategy_version": number;
}

export interface SnapshotUpserted {
  "status": "upserted";
  "account_id": string;
  "snapshot_id": string;
  "strategy_version": number;
  "strategy_synced_at": string;
}

export interface TakeScreenshotInputs {
  "ui_dump"?: boolean | null;
}

export interface Target {
  "routing": string;
  "phone_id"?: string | null;
  "account_id"?: string | null;
  "phone_group"?: string | null;
  "account_group"?: string | null;
  "phone_ids"?: string[] | null;
  "account_ids"?: string[] | null;
}

export interface Termination {
  "process_id": string;
  "status": string;
  "terminate_issued": boolean;
  "container": string | null;
}

export interface Ticket {
  "ticket": string;
  "expires_at": string;
}

export interface Timeline {
  "process_id": string;
  "transitions": Transition[];
  "truncated": boolean;
}

export interface Timestamps {
  "created_at": string | null;
  "accepted_at": string | null;
  "queued_at": string | null;
  "executing_at": string | null;
  "retrying_at": string | null;
  "cancel_requested_at": string | null;
  "finished_at": string | null;
}

export interface Transition {
  "number": number;
  "at": string;
  "queue_item_id": string | null;
  "from_state": string | null;
  "to_state": string;
  "actor": string;
  "reason": string;
  "attempt": number;
  "phone_id": string | null;
  "account_id": string | null;
}

export interface Undrained {
  "agent_id": string;
  "undrained": boolean;
}

export type Verdict = string;

export interface Verification {
  "capability": string;
  "app": string;
  "profile_version": string;
  "run_id": string;
  "process_id": string;
  "phone_id": string;
  "verified_by": string;
  "verified_at": string | null;
}

export interface VerificationStarted {
  "process_id": string;
}

export interface Verify {
  "phone_id": string;
  "account_id"?: string | null;
  "requested_by": string | RequestedBy;
  "inputs"?: Record<string, any> | null;
}

export interface Window {
  "scope": WindowScope;
  "name": string;
  "zone": string;
  "hours": string[];
  "may_overrun": boolean;
  "since": string | null;
  "by": string;
  "reason": string;
  "open": boolean;
  "changes_at": string | null;
}

export interface WindowList {
  "windows": Window[];
}

export interface WindowRemoved {
  "scope": string;
  "name": string;
  "removed": boolean;
}

export type WindowScope = string;
