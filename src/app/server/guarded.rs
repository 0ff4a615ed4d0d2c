//! A socket that is watched, read no faster than its peer's conduct allows, and no more at once than is fair to the others.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::{Sleep, sleep},
};

use super::frames::Frames;
use crate::service::admission::{Condemned, Conduct};

/// Bytes that one connection is read of before the others have their turn: some hundred calls.
const TURN: usize = 64 * 1024;
/// What still comes when all is said is read for so long, and so much of it: twice what a peer may send that hears nothing. A
/// socket that is closed on what it did not read takes back what it has written (RFC 9112, 9.6).
const PARTING: Duration = Duration::from_secs(1);
const MOST_AT_PARTING: usize = 2 << 20;
/// GOAWAY with `ENHANCE_YOUR_CALM`, which takes no call back (RFC 9113, 6.8 and 7).
const FAREWELL: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0, 0, 0, 0x0b];

/// A socket, or what is like one.
#[derive(Debug)]
pub(super) struct Guarded<T> {
    inner: T,
    conduct: Arc<Conduct>,
    frames: Frames,
    /// Bytes read since there was nothing to read.
    in_turn: usize,
    /// Not read until then.
    pause: Option<Pin<Box<Sleep>>>,
    /// What was written last was written whole, so that a frame may follow.
    whole: bool,
    /// All is said.
    parting: Option<Parting>,
}

/// What is left of a socket's end.
#[derive(Debug)]
struct Parting {
    until: Pin<Box<Sleep>>,
    /// Bytes that are still read.
    left: usize,
}

impl Parting {
    /// Reads what comes and forgets it, until the peer has closed too or has had its time.
    fn poll(&mut self, inner: &mut (impl AsyncRead + Unpin), context: &mut Context<'_>) -> Poll<()> {
        if self.until.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut space = [0; 8192];
        while self.left > 0 {
            let mut buffer = ReadBuf::new(&mut space);
            let read = ready!(Pin::new(&mut *inner).poll_read(context, &mut buffer));
            if read.is_err() || buffer.filled().is_empty() {
                break;
            }
            self.left = self.left.saturating_sub(buffer.filled().len());
        }
        Poll::Ready(())
    }
}

impl<T> Guarded<T> {
    /// Watches it for its `conduct`.
    pub(super) fn new(inner: T, conduct: Arc<Conduct>, control_frames: u32) -> Self {
        Self {
            inner,
            conduct,
            frames: Frames::new(control_frames, Instant::now()),
            in_turn: 0,
            pause: None,
            whole: true,
            parting: None,
        }
    }

    /// Waits out what its peer has brought upon itself.
    fn is_paused(&mut self, context: &mut Context<'_>) -> bool {
        loop {
            if let Some(pause) = &mut self.pause {
                if pause.as_mut().poll(context).is_pending() {
                    return true;
                }
                self.pause = None;
            }
            match self.conduct.pause() {
                Some(left) => self.pause = Some(Box::pin(sleep(left))),
                None => return false,
            }
        }
    }

    fn wrote(&mut self, polled: &Poll<io::Result<usize>>, offered: usize) {
        match polled {
            Poll::Ready(Ok(written)) => {
                self.whole = *written == offered;
                self.frames.write(*written);
                self.conduct.writes(true);
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.conduct.writes(false),
        }
    }
}

impl<T: AsyncWrite + Unpin> Guarded<T> {
    /// Says why it ends, where the peer takes it at once, and ends it.
    fn dismiss(&mut self, context: &mut Context<'_>) -> io::Error {
        if self.whole
            && Pin::new(&mut self.inner)
                .poll_write(context, &FAREWELL)
                .is_ready()
        {
            self.whole = false;
            let _flushed = Pin::new(&mut self.inner).poll_flush(context).is_ready();
        }
        io::Error::other("its peer was told to calm down")
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncRead for Guarded<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let guarded = &mut *self;
        if guarded.conduct.condemned().is_some() {
            return Poll::Ready(Err(guarded.dismiss(context)));
        }
        if guarded.is_paused(context) {
            guarded.in_turn = 0;
            return Poll::Pending;
        }
        if guarded.in_turn >= TURN {
            guarded.in_turn = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        let polled = Pin::new(&mut guarded.inner).poll_read(context, buffer);
        match &polled {
            Poll::Ready(Ok(())) => {
                let read = &buffer.filled()[before..];
                guarded.in_turn += read.len();
                let allowed = guarded.frames.read(read);
                if guarded.frames.has_preface() && !guarded.conduct.is_greeted() {
                    guarded.conduct.greet();
                }
                if !allowed {
                    guarded.conduct.condemn(Condemned::ControlFrames);
                    return Poll::Ready(Err(guarded.dismiss(context)));
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => guarded.in_turn = 0,
        }
        polled
    }
}

impl<T: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Guarded<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(context, bytes);
        self.wrote(&polled, bytes.len());
        polled
    }

    /// Not, although the socket is: with frames in vectors, the library writes each answer of more than 255 bytes by itself.
    /// Without, it gathers up to 16 KiB of those that are shorter than 1 KiB.
    fn is_write_vectored(&self) -> bool {
        false
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(context)
    }

    /// Ends when the peer has heard the end, or had time to.
    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let guarded = &mut *self;
        if guarded.parting.is_none() {
            ready!(Pin::new(&mut guarded.inner).poll_shutdown(context))?;
        }
        let parting = guarded.parting.get_or_insert_with(|| Parting {
            until: Box::pin(sleep(PARTING)),
            left: MOST_AT_PARTING,
        });
        parting.poll(&mut guarded.inner, context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, time::Duration};

    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};

    use super::*;

    fn conduct() -> Arc<Conduct> {
        Arc::new(Conduct::new(Arc::default(), 1))
    }

    #[tokio::test]
    async fn whoever_is_told_to_calm_down_hears_why() {
        let (ours, mut theirs) = duplex(1 << 16);
        let conduct = conduct();
        let mut guarded = Guarded::new(ours, Arc::clone(&conduct), 1);
        let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        theirs.write_all(&bytes).await.unwrap();
        guarded.read_exact(&mut bytes).await.unwrap();
        assert!(conduct.is_greeted() && conduct.condemned().is_none());
        let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
        theirs.write_all(&settings.repeat(2)).await.unwrap();
        let mut buffer = [0; 64];
        assert!(guarded.read(&mut buffer).await.is_err());
        assert_eq!(conduct.condemned(), Some(Condemned::ControlFrames));
        drop(guarded);
        let mut heard = Vec::new();
        theirs.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, FAREWELL);
    }

    #[tokio::test]
    async fn a_peer_that_has_much_to_say_leaves_off_now_and_then() {
        let (ours, mut theirs) = duplex(4 * TURN);
        let mut guarded = Guarded::new(ours, conduct(), 1);
        // The preface and a frame that has no end.
        let mut bytes = vec![b' '; 24];
        bytes.extend([0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1]);
        bytes.resize(3 * TURN, 0);
        theirs.write_all(&bytes).await.unwrap();
        let (mut read, mut turns) = (0, 0);
        while read < bytes.len() {
            let mut space = [0; 4096];
            let mut buffer = ReadBuf::new(&mut space);
            let polled =
                poll_fn(|context| Poll::Ready(Pin::new(&mut guarded).poll_read(context, &mut buffer))).await;
            if polled.is_pending() {
                turns += 1;
            }
            read += buffer.filled().len();
        }
        assert_eq!(turns, 2);
    }

    #[tokio::test]
    async fn what_still_comes_is_read_until_the_peer_has_closed_too() {
        let (ours, mut theirs) = duplex(8);
        let mut guarded = Guarded::new(ours, conduct(), 1);
        guarded.write_all(b"all").await.unwrap();
        let (parted, ()) = tokio::join!(guarded.shutdown(), async {
            theirs.write_all(&[0; 100]).await.unwrap();
            let mut heard = Vec::new();
            theirs.read_to_end(&mut heard).await.unwrap();
            assert_eq!(heard, b"all");
            drop(theirs);
        });
        parted.unwrap();
    }

    #[tokio::test]
    async fn whoever_does_not_part_is_left_after_a_second_or_two_mebibytes() {
        let (ours, _theirs) = duplex(8);
        let begun = Instant::now();
        Guarded::new(ours, conduct(), 1).shutdown().await.unwrap();
        assert!(begun.elapsed() >= PARTING);
        let (ours, mut theirs) = duplex(1 << 16);
        let mut guarded = Guarded::new(ours, conduct(), 1);
        let (parted, refused) = tokio::join!(
            async {
                let parted = guarded.shutdown().await;
                drop(guarded);
                parted
            },
            async { theirs.write_all(&vec![0; 2 * MOST_AT_PARTING]).await },
        );
        parted.unwrap();
        refused.unwrap_err();
    }

    #[tokio::test]
    async fn a_pause_is_waited_out_and_a_peer_that_does_not_read_is_noticed() {
        let (ours, mut theirs) = duplex(8);
        let conduct = conduct();
        let mut guarded = Guarded::new(ours, Arc::clone(&conduct), 1);
        theirs.write_all(b"PRI").await.unwrap();
        conduct.slow_down(Duration::from_millis(30));
        let begun = Instant::now();
        let mut buffer = [0; 3];
        guarded.read_exact(&mut buffer).await.unwrap();
        assert!(begun.elapsed() >= Duration::from_millis(30));
        guarded.write_all(&[0; 8]).await.unwrap();
        let later = || Instant::now() + Duration::from_mins(1);
        assert!(conduct.unwritten_for(later()).is_zero());
        let full = poll_fn(|context| Poll::Ready(Pin::new(&mut guarded).poll_write(context, &[0]))).await;
        assert!(full.is_pending() && !conduct.unwritten_for(later()).is_zero());
        theirs.read_exact(&mut [0; 8]).await.unwrap();
        guarded.write_all(&[0]).await.unwrap();
        assert!(conduct.unwritten_for(later()).is_zero());
    }
}
