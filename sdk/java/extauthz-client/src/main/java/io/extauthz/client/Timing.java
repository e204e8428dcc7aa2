package io.extauthz.client;

import java.time.Duration;
import java.time.Instant;

/** The clocks and the pause of a client, so that a test of them waits for nothing. */
interface Timing {

    Timing SYSTEM = new Timing() {

        @Override
        public Instant now() {
            return Instant.now();
        }

        @Override
        public long nanoTime() {
            return System.nanoTime();
        }

        @Override
        public void pause(Duration duration) throws InterruptedException {
            Thread.sleep(duration.toMillis());
        }
    };

    /** Returns the time, for dates that servers send and for assertions. */
    Instant now();

    /** Returns nanoseconds of a clock that never goes back, for the lifetime of a token. */
    long nanoTime();

    /** Waits before the next attempt. */
    void pause(Duration duration) throws InterruptedException;
}
