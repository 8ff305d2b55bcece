//! Why a slot came to no run, or not yet to one: the closed sets behind the `reason` labels.

use crate::closed_set::closed_set;

closed_set! {
    /// Why a slot came to no run, against the plan.
    MissedReason:
    Running "running" "The probe's own last run was still going.",
    Deployment "deployment" "Another run of the same deployment was going.",
    Lane "lane" "A run of another deployment held the lane.",
    Cap "cap" "As many bursts as are allowed at once were in flight.",
    Suspended "suspended" "The prober was not awake for it: suspended, or its clock was set forward.",
}

closed_set! {
    /// Why a slot came to no run, as planned.
    SkippedReason:
    Blackout "blackout" "It lay in a blackout, or had to wait into one.",
    Busy "busy" "The deployment was busy with requests of others until the next slot.",
    KvCache "kv_cache" "The KV cache of the deployment was too full until the next slot.",
    Asleep "asleep" "The server sleeps, and a probe never wakes it.",
    Budget "budget" "The tokens that probing may take in 24 hours were used up.",
    DutyCycle "duty_cycle" "Until the next slot as much of the time as is allowed was spent under the load of probes.",
    Fault "fault" "The runs before it ended in a panic, which is a defect of the prober: the probe rests for a while.",
}

closed_set! {
    /// Why a run that could have started was put off: the deployment is left to its users.
    DeferredReason:
    Busy "busy" "The deployment was busy with requests of others.",
    KvCache "kv_cache" "The KV cache of the deployment was too full.",
}

impl From<DeferredReason> for SkippedReason {
    /// What it comes to when the next slot is there first.
    fn from(reason: DeferredReason) -> Self {
        match reason {
            DeferredReason::Busy => Self::Busy,
            DeferredReason::KvCache => Self::KvCache,
        }
    }
}
