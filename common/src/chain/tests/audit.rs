//! An audit finds nothing in a sound store, and whatever was changed in another.

use super::*;
use crate::address::Address;
use crate::amount::Amount;
use crate::chain::{Audit, AuditError};
use crate::ledger::Account;
use crate::store::{Activity, Write};
use crate::testing::StandIn;

fn busy_chain() -> (Chain<MemoryStore>, Branch) {
    let rules = rules();
    let (chain, mut branch) = (chain(&rules), Branch::new(&rules));
    grow_busy(&mut branch, &carol(), 5);
    connect(&chain, &branch.blocks);
    (chain, branch)
}

/// What an audit says after a change that no program would make.
fn found(change: impl Fn(&mut dyn Write, &Branch) -> Result<(), StoreError>) -> AuditError {
    let (chain, branch) = busy_chain();
    chain.store().write(|writer| change(writer, &branch)).expect("the store takes the change");
    chain.audit(&StandIn).expect_err("the store was changed")
}

#[test]
fn a_sound_store_passes_and_is_counted() {
    let (chain, branch) = busy_chain();
    let audit = chain.audit(&StandIn).expect("the store is sound");
    assert_eq!(audit, Audit { tip: chain.tip().unwrap(), transactions: 10, accounts: 3 });
    assert_eq!(audit.tip.id, branch.tip());
}

#[test]
fn a_store_passes_in_which_branches_replaced_each_other() {
    let rules = rules();
    let (chain, _directory) = durable_chain(&rules);
    assert_eq!(chain.audit(&StandIn).expect("genesis is sound").accounts, 2);
    let mut first = Branch::new(&rules);
    grow_busy(&mut first, &carol(), 2);
    let mut second = first.clone();
    grow_busy(&mut first, &alice(), 3);
    grow_idle(&mut second, &bob(), 4);
    connect(&chain, &first.blocks);
    connect(&chain, &second.blocks);
    let audit = chain.audit(&StandIn).expect("the store is sound");
    assert_eq!((audit.tip.id, audit.transactions), (second.tip(), 4));
}

#[test]
fn an_account_that_the_blocks_do_not_come_to_is_found() {
    let richer = found(|writer, _| {
        let account = writer.account(&bob().address())?;
        writer.put_account(&bob().address(), Account { nonce: account.nonce + 1, ..account })
    });
    assert!(matches!(richer, AuditError::Account { address, .. } if address == bob().address()), "{richer}");

    let invented = found(|writer, _| {
        let account = writer.account(&alice().address())?;
        writer.put_account(&Key::new(9).address(), account)
    });
    assert!(matches!(invented, AuditError::Account { expected, .. } if expected == Account::default()));

    let lost = found(|writer, _| writer.put_account(&carol().address(), Account::default()));
    assert!(matches!(lost, AuditError::Account { got, .. } if got == Account::default()));
}

#[test]
fn a_history_that_the_blocks_do_not_come_to_is_found() {
    let of = alice().address();
    type Change = fn(&mut dyn Write, &Address) -> Result<(), StoreError>;
    let changes: [Change; 3] = [
        |writer, of| writer.remove_activity(of, Height::new(2)),
        |writer, of| {
            let entry = writer.activity(of, 1)?.remove(0);
            writer.put_activity(of, &Activity { fee: Amount::from_units(77), ..entry })
        },
        |writer, of| {
            let entry = writer.activity(of, 1)?.remove(0);
            writer.put_activity(of, &Activity { index: 9, ..entry })
        },
    ];
    for change in changes {
        let (chain, _) = busy_chain();
        chain.watch(&[of, carol().address()]).unwrap();
        chain.audit(&StandIn).expect("the store is sound");
        chain.store().write(|writer| change(writer, &of)).expect("the store takes the change");
        let error = chain.audit(&StandIn).expect_err("the history was changed");
        assert!(matches!(error, AuditError::Activity { address } if address == of), "{error}");
    }
}

#[test]
fn a_tip_that_the_ledger_did_not_follow_is_found() {
    let error = found(|writer, _| writer.retract_best());
    assert!(matches!(error, AuditError::Account { .. }), "{error}");
}

#[test]
fn a_block_that_breaks_a_rule_is_found() {
    let (chain, _) = busy_chain();
    struct NoSignature;
    impl crate::signature::SignatureVerifier for NoSignature {
        fn signer(&self, _: &[u8], _: &[u8; 32], _: &[u8]) -> Option<crate::address::Address> {
            None
        }
    }
    let error = chain.audit(&NoSignature).expect_err("no signature counts");
    assert!(matches!(error, AuditError::Body { height, .. } if height == Height::new(1)), "{error}");
}
