//! Requests that cost little to make and much to answer.

use std::net::Ipv4Addr;
use std::ops::RangeFrom;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::address::Address;
use common::amount::Amount;
use common::block::{Block, Body, Reward, SealedHeader};
use common::encoding::encode;
use common::rules::Rules;
use common::signature::address_of;
use common::transaction::{Payment, Transaction, TransactionVersion};
use common::wire::{
    Announcement, Datagram, MAX_BLOCK_IDS, MAX_FRAME_BYTES, MAX_TRANSACTION_IDS, Request, Response,
    SubmitResult,
};

use super::caller::{Caller, stranger};
use super::honest::Client;
use super::memory::frugal;
use super::target::{EVERYTHING_ELSE_MIB, Target};
use super::udp::Source;
use super::{Figures, ROUNDS};
use crate::program::{Network, PATIENCE, eventually};
use crate::random::Random;
use crate::weak_keys::WeakKey;

/// Callers that ask for one payment as often as a request allows, all at a time.
const REPEATING: usize = 100;
/// Callers that each send the longest frame of the smallest payments: more than there is room for.
const SMALL_PAYMENTS: usize = 12;
/// Of them, those that are looked at (`LIMITS.md`).
const LOOKED_AT: usize = 4_096;
/// Callers that push blocks without work, without a pause.
const PUSHING: u32 = 8;
/// How often an honest sender repeats its payment.
const REPEAT: Duration = Duration::from_millis(500);
/// Long requests, buffers, and answers from the chain and the pool, in MiB (`LIMITS.md`).
const CALLERS_MIB: u64 = 128 + 20 + 64 + 66 + 88;

pub fn run(scale: u32, seed: u64) -> Figures {
    let key = WeakKey::generate(&mut Random::new(seed));
    let alloc = vec![(address_of(key.modulus()), Amount::from_coins(1_000))];
    let network = Network::with_rules(Rules { alloc, ..Rules::default() });
    let mut target = Target::mining(frugal(network.home("attacked")), &[]);
    let mut addresses = (0..).map(stranger as fn(u32) -> Ipv4Addr);
    let mut address = || addresses.next().expect("there are many");
    let mut sender =
        Sender { key, honest: Source::at(Ipv4Addr::LOCALHOST), port: network.ports.transactions };
    let mut nonce = 0;
    for _ in 0..ROUNDS {
        // It waits for the one before it, so that no block takes it.
        let waiting = sender.pay(&target, nonce + 1);
        let mut client = Client::call(target.place, target.network()).expect("an honest caller is served");
        eventually("the payment to be in the pool", || {
            sender.say(&target, &waiting);
            let ids = vec![waiting.id()];
            let found = client.ask(&Request::GetTransactions { ids }).expect("an honest caller is served");
            (found == Response::Transactions(vec![waiting.clone()])).then_some(())
        });
        for _ in 0..scale {
            repeated(&mut target, &waiting, [address(), address()]);
            small_payments(&mut target, &mut address);
        }
        // The first lets the one go that waits.
        let next = nonce + 2 + u64::from(scale) / 2;
        pushes(&mut target, &mut sender, address(), [nonce].into_iter().chain(nonce + 2..next));
        nonce = next;
        target.serves(3);
        target.end_round();
    }
    target.withstood(CALLERS_MIB + EVERYTHING_ELSE_MIB).0
}

/// Somebody with money, who says payments by broadcast.
struct Sender {
    key: WeakKey,
    honest: Source,
    port: u16,
}

impl Sender {
    fn pay(&self, target: &Target<'_>, nonce: u64) -> Transaction {
        self.key.sign_payment(payment(nonce), &target.network())
    }

    fn say(&mut self, target: &Target<'_>, payment: &Transaction) {
        let announcement = Announcement::Transaction(payment.clone());
        self.honest.send(&Datagram::new(&target.network(), announcement).to_bytes(), self.port);
    }
}

/// Everything but the key.
fn payment(nonce: u64) -> Payment {
    Payment {
        version: TransactionVersion::V1,
        to: Address::from_bytes([7; 32]),
        amount: Amount::from_units(1),
        fee: Amount::ZERO,
        nonce,
        valid_until: 0,
        data: Vec::new(),
        public_key: Vec::new(),
    }
}

/// One payment, asked for again and again in one request, by many at a time: it is answered once.
fn repeated(target: &mut Target<'_>, payment: &Transaction, from: [Ipv4Addr; 2]) {
    let greeted = |number: usize| Caller::greeted(from[number % 2], target.place);
    let mut callers: Vec<Caller> = (0..REPEATING).filter_map(|number| greeted(number).ok()).collect();
    let request = Request::GetTransactions { ids: vec![payment.id(); MAX_TRANSACTION_IDS] };
    callers.iter_mut().for_each(|caller| caller.ask(&request).expect("the server listens"));
    for caller in &mut callers {
        let answer = Response::from_frame(caller.frame().expect("it is answered")).expect("it decodes");
        assert_eq!(answer, Response::Transactions(vec![payment.clone()]));
    }
    target.figures.add("requests of repeated ids", callers.len() as u64);
}

/// As many payments as fit into a frame, none of which is one: few are looked at, and of many such frames some have to
/// go.
fn small_payments(target: &mut Target<'_>, address: &mut impl FnMut() -> Ipv4Addr) {
    let none = Transaction { payment: payment(0), signature: Vec::new() };
    let count = (MAX_FRAME_BYTES - 16) / encode(&none).len();
    let request = Request::SubmitTransactions(vec![none; count]);
    let callers: Vec<Caller> = (0..SMALL_PAYMENTS)
        .map(|_| Caller::greeted(address(), target.place).expect("there is room for a caller"))
        .collect();
    let answered = AtomicU64::new(0);
    thread::scope(|scope| {
        for mut caller in callers {
            let (request, answered) = (&request, &answered);
            scope.spawn(move || {
                // Whoever has to give way is cut off.
                let Ok(answer) = caller.ask(request).and_then(|()| caller.frame()) else { return };
                let Response::Results(results) = Response::from_frame(answer).expect("it decodes") else {
                    panic!("it is not answered with results")
                };
                assert_eq!(results.len(), count);
                assert!(results[..LOOKED_AT].iter().all(|result| *result == SubmitResult::FORM));
                assert!(results[LOOKED_AT..].iter().all(|result| *result == SubmitResult::POOL_FULL));
                answered.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    let answered = answered.into_inner();
    assert!(answered > 0, "nobody is answered");
    target.figures.add("frames of small payments", SMALL_PAYMENTS as u64);
    target.figures.add("of them answered", answered);
    target.serves(1);
}

/// Blocks without work, pushed without a pause by many: broadcasts of payments with these nonces are heard all the same.
fn pushes(target: &mut Target<'_>, sender: &mut Sender, from: Ipv4Addr, nonces: impl Iterator<Item = u64>) {
    let mut client = Client::call(target.place, target.network()).expect("an honest caller is served");
    let headers = client.headers(1).expect("an honest caller is served");
    let request = Request::SubmitBlocks(without_work(&headers[0]));
    let (over, pushed) = (AtomicBool::new(false), AtomicU64::new(0));
    let mut slowest = Duration::ZERO;
    thread::scope(|scope| {
        for _ in 0..PUSHING {
            scope.spawn(|| {
                let mut caller = Caller::greeted(from, target.place).expect("there is room for a caller");
                while !over.load(Ordering::Relaxed) {
                    caller.ask(&request).expect("the server listens");
                    let answer = Response::from_frame(caller.frame().expect("it is answered"));
                    let refused = vec![SubmitResult::REFUSED; MAX_BLOCK_IDS];
                    assert_eq!(answer.expect("it decodes"), Response::Results(refused));
                    pushed.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for nonce in nonces {
            slowest = slowest.max(mined_after(target, sender, &mut client, nonce));
        }
        over.store(true, Ordering::Relaxed);
    });
    target.figures.add("pushes without work", pushed.into_inner());
    target.figures.add("a payment mined meanwhile after, ms", slowest.as_millis() as u64);
}

/// Says a payment until a block holds it.
fn mined_after(target: &Target<'_>, sender: &mut Sender, client: &mut Client, nonce: u64) -> Duration {
    let payment = sender.pay(target, nonce);
    let (started, mut said) = (Instant::now(), None::<Instant>);
    loop {
        if said.is_none_or(|said| said.elapsed() > REPEAT) {
            sender.say(target, &payment);
            said = Some(Instant::now());
        }
        let proof = client.ask(&Request::GetProof { transaction: payment.id() });
        if matches!(proof.expect("an honest caller is served"), Response::Proof(_)) {
            return started.elapsed();
        }
        assert!(started.elapsed() < PATIENCE, "a payment that was broadcast is not mined");
    }
}

/// As many blocks as are looked at, each the child of this one's parent.
fn without_work(header: &SealedHeader) -> Vec<Block> {
    let reward = Reward { to: Address::from_bytes([7; 32]), amount: Amount::ZERO, data: Vec::new() };
    let body = Body { reward, transactions: Vec::new() };
    let nonces: RangeFrom<u64> = header.header.nonce.wrapping_add(1)..;
    let block = |nonce| Block {
        header: common::block::BlockHeader { nonce, ..header.header },
        seal: header.seal.clone(),
        body: body.clone(),
    };
    nonces.take(MAX_BLOCK_IDS).map(block).collect()
}
