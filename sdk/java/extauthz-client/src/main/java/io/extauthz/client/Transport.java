package io.extauthz.client;

import java.io.IOException;
import java.lang.ref.WeakReference;
import java.net.BindException;
import java.net.ConnectException;
import java.net.NoRouteToHostException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpHeaders;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.net.http.HttpTimeoutException;
import java.nio.channels.UnresolvedAddressException;
import java.time.Duration;
import java.util.ArrayDeque;
import java.util.Deque;
import java.util.Iterator;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executor;
import java.util.concurrent.SynchronousQueue;
import java.util.concurrent.ThreadPoolExecutor;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLHandshakeException;

/** Sends one request and reads its whole answer, in a bounded time and of a bounded size. */
final class Transport implements AutoCloseable {

    /** A status, the headers, and the whole body. */
    record Answer(int status, HttpHeaders headers, byte[] body) {}

    /** The answer has more bytes than the limit. */
    static final class TooLarge extends IOException {

        private static final long serialVersionUID = 1L;

        TooLarge(int limit) {
            super("the answer has more than " + limit + " bytes");
        }
    }

    /** The client was closed while the call waited. */
    static final class Closed extends IOException {

        private static final long serialVersionUID = 1L;

        Closed() {
            super("the client was closed");
        }
    }

    /** Less than the 5 s after which the API closes idle connections: none of them is taken for such a request. */
    private static final long FRESH_NANOS = TimeUnit.SECONDS.toNanos(4);

    /** Each client has a thread until it is collected; JDK 17 has no way to end it earlier. */
    private static final int MOST_REPLACED = 8;

    private static final Duration LONGEST = Duration.ofDays(1);

    private final SSLContext tls;
    private final Duration timeout;
    private final Executor executor = daemons();
    private final Set<Caller> callers = ConcurrentHashMap.newKeySet();
    private final Deque<WeakReference<HttpClient>> replaced = new ArrayDeque<>();
    private volatile HttpClient client;
    private HttpClient fresh;
    private long freshSince;
    private volatile boolean closed;

    Transport(SSLContext tls, Duration timeout) {
        if (timeout.isZero() || timeout.isNegative() || timeout.compareTo(LONGEST) > 0) {
            throw new IllegalArgumentException("a timeout is more than 0 and at most a day, unlike " + timeout);
        }
        this.tls = tls;
        this.timeout = timeout;
    }

    /**
     * Sends a request. A redirect is an answer like any other: following it would carry the credential elsewhere.
     *
     * <p>The JDK itself sends a GET once more when the connection ends before the first byte of an answer.
     *
     * @param unused whether to leave out connections that were idle for so long that the server may close them
     */
    Answer send(String method, URI address, Map<String, String> headers, byte[] body, int limit, boolean unused)
            throws IOException, InterruptedException {
        long deadline = System.nanoTime() + timeout.toNanos();
        HttpRequest.Builder request = HttpRequest.newBuilder(address)
                .timeout(timeout)
                .header("accept", "application/json")
                .header("user-agent", "extauthz-client")
                .method(
                        method,
                        body == null
                                ? HttpRequest.BodyPublishers.noBody()
                                : HttpRequest.BodyPublishers.ofByteArray(body));
        headers.forEach(request::setHeader);
        HttpClient sending = unused ? freshClient() : client();
        var caller = new Caller(Thread.currentThread());
        callers.add(caller);
        try {
            if (closed) {
                throw new Closed();
            }
            // Not sendAsync: it hands the request and the answer to other threads, which costs more than the exchange.
            HttpResponse<BoundedBody> response =
                    sending.send(request.build(), info -> new BoundedBody(info.headers(), limit));
            // The timeout of the request ends at the headers of the answer.
            return new Answer(
                    response.statusCode(), response.headers(), response.body().bytes(deadline));
        } catch (HttpTimeoutException error) {
            throw new HttpTimeoutException("no answer within " + timeout.toMillis() + " ms");
        } catch (InterruptedException error) {
            if (closed) {
                throw new Closed();
            }
            throw error;
        } finally {
            callers.remove(caller);
            caller.leave();
        }
    }

    /** A thread that waits for an answer; closing interrupts it. */
    private static final class Caller {

        private final Thread thread;
        private boolean left;
        private boolean interrupted;

        Caller(Thread thread) {
            this.thread = thread;
        }

        synchronized void interrupt() {
            if (!left) {
                interrupted = true;
                thread.interrupt();
            }
        }

        /** Leaves the thread as it was, where the interruption came too late to end the wait. */
        synchronized void leave() {
            left = true;
            if (interrupted) {
                Thread.interrupted();
            }
        }
    }

    boolean isClosed() {
        return closed;
    }

    /** Ends all that is sent at the moment. */
    @Override
    public void close() {
        closed = true;
        callers.forEach(Caller::interrupt);
        synchronized (this) {
            end(client);
            end(fresh);
            client = null;
            fresh = null;
        }
    }

    private HttpClient client() throws Closed {
        HttpClient known = client;
        if (known != null) {
            return known;
        }
        synchronized (this) {
            if (client == null) {
                client = opened();
            }
            return client;
        }
    }

    private synchronized HttpClient freshClient() throws Closed {
        if (fresh != null && System.nanoTime() - freshSince >= FRESH_NANOS && left() < MOST_REPLACED) {
            replaced.add(new WeakReference<>(fresh));
            fresh = null;
        }
        if (fresh == null) {
            fresh = opened();
            freshSince = System.nanoTime();
        }
        return fresh;
    }

    private int left() {
        for (Iterator<WeakReference<HttpClient>> each = replaced.iterator(); each.hasNext(); ) {
            if (each.next().get() == null) {
                each.remove();
            }
        }
        return replaced.size();
    }

    private HttpClient opened() throws Closed {
        if (closed) {
            throw new Closed();
        }
        // HTTP/1.1: the upgrade that HTTP/2 asks for in cleartext is an invalid request to some servers.
        HttpClient.Builder builder = HttpClient.newBuilder()
                .version(HttpClient.Version.HTTP_1_1)
                .followRedirects(HttpClient.Redirect.NEVER)
                .executor(executor);
        if (tls != null) {
            builder.sslContext(tls);
        }
        return builder.build();
    }

    /** Ends the threads at once where the JDK can (21); before, they end when the client is collected. */
    private static void end(HttpClient client) {
        if (client instanceof AutoCloseable closeable) {
            try {
                closeable.close();
            } catch (Exception error) {
                throw new IllegalStateException(error);
            }
        }
    }

    private static Executor daemons() {
        var count = new AtomicInteger();
        return new ThreadPoolExecutor(0, Integer.MAX_VALUE, 5, TimeUnit.SECONDS, new SynchronousQueue<>(), task -> {
            var thread = new Thread(null, task, "extauthz-http-" + count.incrementAndGet(), 0, false);
            thread.setDaemon(true);
            // An application that is undeployed is not kept by a thread of this pool.
            thread.setContextClassLoader(null);
            return thread;
        });
    }

    /** Tells whether no connection was made, so that surely nothing was asked. */
    static boolean neverMade(IOException error) {
        return error instanceof ConnectException
                || error instanceof NoRouteToHostException
                || error instanceof BindException
                || error instanceof SSLHandshakeException;
    }

    /** Returns why there is no answer, in words. */
    static String why(Throwable error) {
        for (Throwable each = error; each != null; each = each.getCause()) {
            if (each instanceof UnresolvedAddressException) {
                return "the host name cannot be resolved";
            }
            if (each.getMessage() != null && !each.getMessage().isBlank()) {
                return each.getMessage();
            }
        }
        return error instanceof ConnectException
                ? "no connection can be made"
                : error.getClass().getSimpleName();
    }
}
