//! What a packet costs in the data path as a thread has it: flow and session found, cut, sealed and
//! counted; and opened, merged and counted.
//!
//! The engine alone, a thread beside it alone, and two such threads at once. They share nothing, so each
//! of the two should take what one alone takes, where two processors are idle.

mod end;
mod load;

use crate::figure::{Figure, time};
use crate::scene::{ASKS, Scene};
use anyhow::{Context, Result, ensure};
use end::{Beside, Engines, Path};
use ge_core::Mode;
use ge_core::batch::SealedBatch;
use ge_core::io::Received;
use load::Load;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

const RUNS: usize = 21;
/// Batches between two samples.
const BATCHES: usize = 50;
/// Threads of the data path, the engine's among them: two are beside it.
const WORKERS: u8 = 3;
const ASKED: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 1, 0, 1));
/// Virtual time in which the two agree and have nothing more to say.
const SETTLE_MICROS: u64 = 100_000;

/// Times of sealing, and of opening.
type Samples = [Vec<Duration>; 2];

pub(crate) fn figures() -> Result<Vec<Figure>> {
    let mut scene = Scene::new(Mode::Closed, &[ASKED], WORKERS)?;
    scene.ask(ASKED);
    scene.turn(true, SETTLE_MICROS);
    scene.turn(true, SETTLE_MICROS);
    let now = scene.now();
    let Scene { mut asking, mut asked, .. } = scene;
    let mut engines = Engines { sealing: &mut asking.engine, opening: &mut asked.engine, now };
    let ends = asking.beside.into_iter().zip(asked.beside);
    let beside: Vec<Beside> =
        ends.map(|(sealing, opening)| Beside { sealing, opening, now: now.mono }).collect();
    let [mut first, mut second] = <[_; 2]>::try_from(beside).ok().context("two threads")?;
    let mut figures = Vec::new();
    for load in Load::ALL {
        let alone = Barrier::new(1);
        figures.extend(both("engine", load, samples(&mut engines, load, &alone)?));
        figures.extend(both("thread", load, samples(&mut first, load, &alone)?));
        let [one, two] = at_once(&mut first, &mut second, load)?;
        figures.extend(both("1st of 2 threads", load, one));
        figures.extend(both("2nd of 2 threads", load, two));
    }
    Ok(figures)
}

fn both(who: &str, load: Load, [seal, open]: Samples) -> [Figure; 2] {
    let figure = |what, samples| {
        let name = format!("{who}, {what} {}", load.name());
        Figure::median(name, samples, BATCHES * load::PACKETS)
    };
    [figure("seal", seal), figure("open", open)]
}

/// Each of the two on a thread of the system's.
fn at_once(first: &mut Beside, second: &mut Beside, load: Load) -> Result<[Samples; 2]> {
    let together = &Barrier::new(2);
    thread::scope(|scope| {
        let two = scope.spawn(|| samples(second, load, together));
        let one = samples(first, load, together);
        let two = two.join().ok().context("the second thread panicked")?;
        Ok([one?, two?])
    })
}

/// All samples, each begun when everybody is there to begin it.
fn samples(path: &mut impl Path, load: Load, together: &Barrier) -> Result<Samples> {
    let mut frames = load.frames(ASKS, ASKED);
    let mut batch = SealedBatch::default();
    let (mut buffer, mut received) = (Vec::new(), Vec::new());
    let mut all = Samples::default();
    let mut missing = 0;
    for _ in 0..RUNS {
        together.wait();
        let mut sums = [Duration::ZERO; 2];
        for _ in 0..BATCHES {
            let (seal, _) =
                time(|| frames.iter_mut().for_each(|frame| path.seal(frame, &mut batch)));
            arrive(&mut batch, &mut buffer, &mut received);
            let (open, packets) = time(|| path.open(&mut buffer, &received));
            missing += load::PACKETS.abs_diff(packets);
            sums[0] += seal;
            sums[1] += open;
        }
        all.iter_mut().zip(sums).for_each(|(all, sum)| all.push(sum));
    }
    // Not sooner: the other would wait for ever.
    ensure!(missing == 0, "{missing} packets were sealed and not opened");
    Ok(all)
}

/// What was sealed lies as one receive of the other end's leaves it.
fn arrive(batch: &mut SealedBatch, buffer: &mut Vec<u8>, received: &mut Vec<Received>) {
    buffer.clear();
    received.clear();
    for run in batch.runs() {
        let start = buffer.len();
        buffer.extend_from_slice(&run.bytes);
        let (at, segment) = (start..buffer.len(), run.segment);
        received.push(Received { at, segment, meta: end::meta(ASKS, ASKED) });
    }
    batch.clear();
}
