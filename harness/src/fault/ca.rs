//! The CA in trouble, at a protocol step, through the ACME front.

use super::{Act, CaAct, Family, Fault};
use crate::{census::CensusEffect, effect::Class, event::FaultRecord, limits};

/// The faults of this family.
pub const FAULTS: &[&dyn Fault] = &[
    &Trouble {
        name: "bad-nonce",
        models: "the CA refuses the nonce",
        act: CaAct::Answer { status: 400, problem: "badNonce", retry_after: None },
    },
    &Trouble {
        name: "rate-limited",
        models: "the CA answers 429",
        act: CaAct::Answer { status: 429, problem: "rateLimited", retry_after: Some("1") },
    },
    &Trouble {
        name: "internal-error",
        models: "the CA answers 500",
        act: CaAct::Answer { status: 500, problem: "serverInternal", retry_after: None },
    },
    &Trouble {
        name: "unavailable",
        models: "the CA answers 503",
        act: CaAct::Answer { status: 503, problem: "serverInternal", retry_after: Some("1") },
    },
    &Trouble {
        name: "malformed",
        models: "the CA answers nonsense",
        act: CaAct::Answer { status: 200, problem: "", retry_after: None },
    },
    &Trouble {
        name: "account-unknown",
        models: "the CA does not know the account",
        act: CaAct::Answer { status: 400, problem: "accountDoesNotExist", retry_after: None },
    },
    &Trouble { name: "cut-before", models: "connection cut before the CA acted", act: CaAct::CutBefore },
    &Trouble { name: "cut-after", models: "connection cut after the CA acted", act: CaAct::CutAfter },
    &Trouble { name: "slow", models: "the CA is slow", act: CaAct::Delay(limits::SLOW_ANSWER) },
    &Trouble { name: "processing", models: "the order stays in processing", act: CaAct::Processing },
];

struct Trouble {
    name: &'static str,
    models: &'static str,
    act: CaAct,
}

impl Fault for Trouble {
    fn name(&self) -> &'static str {
        self.name
    }

    fn family(&self) -> Family {
        Family::Ca
    }

    fn models(&self) -> &'static str {
        self.models
    }

    fn strikes_at(&self, effect: &CensusEffect) -> bool {
        // The directory and nonces are asked for without a signature (RFC 8555 section 6.2).
        let signed = effect.class == Class::Request;
        match self.name {
            "bad-nonce" | "account-unknown" => signed && effect.record.op != "newAccount",
            "processing" => effect.record.op == "finalize",
            _ => signed || effect.class == Class::Query,
        }
    }

    fn act(&self, _record: &FaultRecord) -> Option<Act> {
        Some(Act::Ca(self.act.clone()))
    }
}
