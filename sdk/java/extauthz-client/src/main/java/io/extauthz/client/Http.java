package io.extauthz.client;

import java.io.IOException;
import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.locks.ReentrantLock;

/** Sends one request to the API: credentials, retries, problem details as exceptions. */
final class Http implements AutoCloseable {

    private static final Set<Integer> NOT_NOW = Set.of(429, 502, 503, 504);
    private static final int NOTHING_DONE = 429;
    private static final double FIRST_PAUSE_S = 0.2;
    private static final double LONGEST_PAUSE_S = 10;

    /** More than a page of the largest policies has. */
    private static final int MOST_BYTES = 64 << 20;

    /** RFC 9110 15 and RFC 6585. */
    private static final Map<Integer, String> PHRASES = Map.ofEntries(
            Map.entry(300, "Multiple Choices"),
            Map.entry(301, "Moved Permanently"),
            Map.entry(302, "Found"),
            Map.entry(303, "See Other"),
            Map.entry(304, "Not Modified"),
            Map.entry(305, "Use Proxy"),
            Map.entry(307, "Temporary Redirect"),
            Map.entry(308, "Permanent Redirect"),
            Map.entry(400, "Bad Request"),
            Map.entry(401, "Unauthorized"),
            Map.entry(402, "Payment Required"),
            Map.entry(403, "Forbidden"),
            Map.entry(404, "Not Found"),
            Map.entry(405, "Method Not Allowed"),
            Map.entry(406, "Not Acceptable"),
            Map.entry(407, "Proxy Authentication Required"),
            Map.entry(408, "Request Timeout"),
            Map.entry(409, "Conflict"),
            Map.entry(410, "Gone"),
            Map.entry(411, "Length Required"),
            Map.entry(412, "Precondition Failed"),
            Map.entry(413, "Content Too Large"),
            Map.entry(414, "URI Too Long"),
            Map.entry(415, "Unsupported Media Type"),
            Map.entry(416, "Range Not Satisfiable"),
            Map.entry(417, "Expectation Failed"),
            Map.entry(421, "Misdirected Request"),
            Map.entry(422, "Unprocessable Content"),
            Map.entry(426, "Upgrade Required"),
            Map.entry(428, "Precondition Required"),
            Map.entry(429, "Too Many Requests"),
            Map.entry(431, "Request Header Fields Too Large"),
            Map.entry(451, "Unavailable For Legal Reasons"),
            Map.entry(500, "Internal Server Error"),
            Map.entry(501, "Not Implemented"),
            Map.entry(502, "Bad Gateway"),
            Map.entry(503, "Service Unavailable"),
            Map.entry(504, "Gateway Timeout"),
            Map.entry(505, "HTTP Version Not Supported"),
            Map.entry(507, "Insufficient Storage"),
            Map.entry(511, "Network Authentication Required"));

    /** What the API answered; {@code document} is null where the body is empty or not JSON. */
    record Answer(int status, Object document, String revision, Double retryAfterSeconds) {

        /** Returns the refusal that this is. */
        ApiException problem() {
            Map<?, ?> members = document instanceof Map<?, ?> found ? found : Map.of();
            List<Problem> errors = new ArrayList<>();
            if (members.get("errors") instanceof List<?> found) {
                for (Object error : found) {
                    if (error instanceof Map<?, ?> problem) {
                        errors.add(Problem.read(problem));
                    }
                }
            }
            return new ApiException(
                    status,
                    members.get("title") instanceof String text ? text : PHRASES.getOrDefault(status, "error"),
                    members.get("detail") instanceof String text ? text : "",
                    members.get("reason") instanceof String text ? text : null,
                    errors,
                    retryAfterSeconds);
        }
    }

    private final String baseUrl;
    private final Credentials credentials;
    private final Transport transport;
    private final TokenSource tokens;
    private final int attempts;
    private final Timing timing;
    private final ReentrantLock authorizing = new ReentrantLock();
    private ExtauthzException noCredential;
    private long noCredentialAt;

    Http(URI baseUrl, Credentials credentials, int attempts, Transport transport, Timing timing) {
        this.baseUrl = Addresses.base(baseUrl);
        this.credentials = credentials;
        this.attempts = Math.max(1, attempts);
        this.transport = transport;
        this.timing = timing;
        this.tokens =
                credentials instanceof ClientCredentials client ? new TokenSource(client, transport, timing) : null;
    }

    private Http(Http other, BearerToken token) {
        this.baseUrl = other.baseUrl;
        this.credentials = token;
        this.attempts = other.attempts;
        this.transport = other.transport;
        this.tokens = null;
        this.timing = other.timing;
    }

    @Override
    public void close() {
        transport.close();
    }

    /** Returns the same API for another caller, over the same connections; it is not to be closed. */
    Http as(BearerToken token) {
        return new Http(this, token);
    }

    /**
     * Returns the answer, which is a success or has the status {@code also}.
     *
     * <p>What is not {@code repeatable} is sent again only when it surely was not done. Deleting what an attempt
     * without an answer has deleted already is a success.
     *
     * @throws ApiException the API refused
     * @throws UnreachableException there was no answer in the end
     * @throws UnexpectedAnswerException this is not the API's
     * @throws ExtauthzException there are no credentials
     */
    Answer call(String method, String path, Map<String, String> query, Object document, boolean repeatable, int also) {
        if (transport.isClosed()) {
            throw new IllegalStateException("the client is closed");
        }
        URI address = URI.create(baseUrl + path + Addresses.query(query));
        byte[] body = document == null ? null : Json.write(document);
        try {
            return call(method, address, body, repeatable, also);
        } catch (InterruptedException error) {
            Thread.currentThread().interrupt();
            throw new UnreachableException(method + " " + address + ": the thread was interrupted", error);
        }
    }

    private Answer call(String method, URI address, byte[] body, boolean repeatable, int also)
            throws InterruptedException {
        double pause = FIRST_PAUSE_S;
        boolean maybeDone = false;
        for (int left = attempts - 1; ; left--) {
            ExtauthzException failure;
            Double wait = null;
            try {
                Answer answer = asked(method, address, body, !repeatable);
                if (answer.status() == also) {
                    return answer;
                }
                if (answer.status() >= 200 && answer.status() < 300) {
                    return understood(answer);
                }
                if (answer.status() == 404 && method.equals("DELETE") && maybeDone) {
                    return answer;
                }
                failure = answer.problem();
                wait = answer.retryAfterSeconds();
                if (!NOT_NOW.contains(answer.status())) {
                    throw failure;
                }
                // The API itself says so too when its database was lost while it wrote.
                if (answer.status() != NOTHING_DONE) {
                    if (!repeatable) {
                        throw failure;
                    }
                    maybeDone = true;
                }
            } catch (UnreachableException error) {
                failure = error;
            } catch (Transport.TooLarge error) {
                throw new UnexpectedAnswerException(method + " " + address + ": " + error.getMessage());
            } catch (IOException error) {
                failure = new UnreachableException(method + " " + address + ": " + Transport.why(error), error);
                if (!Transport.neverMade(error)) {
                    if (!repeatable) {
                        throw failure;
                    }
                    maybeDone = true;
                }
            }
            if (left == 0 || transport.isClosed() || (wait != null && wait > LONGEST_PAUSE_S)) {
                throw failure;
            }
            timing.pause(Duration.ofNanos((long) (1e9 * ((wait == null ? 0 : wait) + jittered(pause)))));
            pause = Math.min(pause * 2, LONGEST_PAUSE_S);
        }
    }

    /** Asks once; once more when the credential was refused and there is another. */
    private Answer asked(String method, URI address, byte[] body, boolean unused)
            throws IOException, InterruptedException {
        String credential = credential();
        Answer answer = sent(method, address, body, credential, unused);
        if (answer.status() == 401 && tokens != null) {
            authorizing.lockInterruptibly();
            try {
                tokens.refused(credential);
            } finally {
                authorizing.unlock();
            }
            answer = sent(method, address, body, credential(), unused);
        }
        return answer;
    }

    /** Returns the value of the header that carries the credential. */
    private String credential() throws InterruptedException {
        if (credentials instanceof ServiceKey key) {
            return key.key();
        }
        if (credentials instanceof BearerToken bearer) {
            return bearer.authorization();
        }
        long askedAt = System.nanoTime();
        authorizing.lockInterruptibly();
        try {
            // A call that waited while another one was refused does not wait as long once more.
            if (noCredential != null && noCredentialAt - askedAt >= 0) {
                throw again(noCredential);
            }
            try {
                return tokens.authorization();
            } catch (ExtauthzException error) {
                noCredential = error;
                noCredentialAt = System.nanoTime();
                throw error;
            }
        } finally {
            authorizing.unlock();
        }
    }

    private static ExtauthzException again(ExtauthzException error) {
        return error instanceof UnreachableException
                ? new UnreachableException(error.getMessage(), error)
                : new ExtauthzException(error.getMessage(), error);
    }

    private Answer sent(String method, URI address, byte[] body, String credential, boolean unused)
            throws IOException, InterruptedException {
        var headers = new LinkedHashMap<String, String>();
        headers.put(credentials instanceof ServiceKey ? "x-service-api-key" : "authorization", credential);
        if (body != null) {
            headers.put("content-type", "application/json");
        }
        Transport.Answer answer = transport.send(method, address, headers, body, MOST_BYTES, unused);
        return new Answer(
                answer.status(),
                Json.read(answer.body()),
                answer.headers().firstValue("x-policy-revision").orElse(""),
                RetryAfter.seconds(answer.headers().firstValue("retry-after").orElse(""), timing.now()));
    }

    private static Answer understood(Answer answer) {
        if (answer.document() == null && answer.status() != 204) {
            throw new UnexpectedAnswerException("the API answered " + answer.status() + " with nothing readable");
        }
        return answer;
    }

    /** Spreads callers over time; protects nothing. */
    private static double jittered(double pause) {
        return pause * (0.5 + ThreadLocalRandom.current().nextDouble() / 2);
    }
}
