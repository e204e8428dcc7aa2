package io.extauthz.client;

import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.net.http.HttpHeaders;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Flow;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;

/** Collects the body of an answer, up to a number of bytes; the answer is there before its body is. */
final class BoundedBody implements HttpResponse.BodySubscriber<BoundedBody> {

    private final CompletableFuture<byte[]> result = new CompletableFuture<>();
    private final ByteArrayOutputStream body;
    private final int limit;
    private final boolean announcedTooLarge;
    private volatile Flow.Subscription subscription;

    BoundedBody(HttpHeaders headers, int limit) {
        long announced = headers.firstValueAsLong("content-length").orElse(0);
        this.limit = limit;
        this.announcedTooLarge = announced > limit;
        this.body = new ByteArrayOutputStream((int) Math.max(32, Math.min(announced, 65536)));
    }

    @Override
    public CompletionStage<BoundedBody> getBody() {
        return CompletableFuture.completedFuture(this);
    }

    /**
     * Waits for the whole body.
     *
     * @param deadline the value of {@link System#nanoTime} to wait for
     * @throws HttpTimeoutException it did not come in time
     * @throws Transport.TooLarge it has more bytes than the limit
     * @throws IOException the connection was lost
     */
    byte[] bytes(long deadline) throws IOException, InterruptedException {
        try {
            return result.get(Math.max(0, deadline - System.nanoTime()), TimeUnit.NANOSECONDS);
        } catch (TimeoutException error) {
            cancel();
            throw new HttpTimeoutException("the body did not come in time");
        } catch (InterruptedException error) {
            cancel();
            throw error;
        } catch (ExecutionException error) {
            if (error.getCause() instanceof IOException cause) {
                throw cause;
            }
            throw new IOException(String.valueOf(error.getCause()), error.getCause());
        }
    }

    /** Closes the connection: what still comes would be taken for the next answer. */
    private void cancel() {
        Flow.Subscription known = subscription;
        if (known != null) {
            known.cancel();
        }
    }

    @Override
    public void onSubscribe(Flow.Subscription subscription) {
        this.subscription = subscription;
        if (announcedTooLarge) {
            refuse();
        } else {
            subscription.request(Long.MAX_VALUE);
        }
    }

    @Override
    public void onNext(List<ByteBuffer> buffers) {
        for (ByteBuffer buffer : buffers) {
            if (result.isDone()) {
                return;
            }
            if (buffer.remaining() > limit - body.size()) {
                refuse();
                return;
            }
            byte[] bytes = new byte[buffer.remaining()];
            buffer.get(bytes);
            body.writeBytes(bytes);
        }
    }

    @Override
    public void onError(Throwable error) {
        result.completeExceptionally(error);
    }

    @Override
    public void onComplete() {
        result.complete(body.toByteArray());
    }

    private void refuse() {
        subscription.cancel();
        result.completeExceptionally(new Transport.TooLarge(limit));
    }
}
