package io.extauthz.declare;

import io.extauthz.client.ApiException;
import io.extauthz.client.CheckRequest;
import io.extauthz.client.CheckResult;
import io.extauthz.client.ExtauthzClient;
import io.extauthz.client.ExtauthzException;
import io.extauthz.client.SubjectKind;
import io.extauthz.client.UnreachableException;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.function.Function;
import java.util.function.Supplier;

/**
 * Decides about requests that may not have come through the mesh, by {@code POST /api/v1/check}.
 *
 * <p>INVARIANT: a request goes on only if the mesh allowed it (a verified assertion, or headers of a trusted
 * network) or the API answers the check with an allow. Everything else is a denial.
 */
public final class Enforcer {

    // The API sets these itself and refuses them in a check.
    private static final Set<String> NOT_ASKABLE = Set.of("name", "service");

    private final Supplier<ExtauthzClient> client;
    private final CallerReader callers;

    /**
     * The subject of a check that the application itself knows, such as the user of a session.
     *
     * @param id the id
     * @param kind the kind
     * @param domain the domain; null where there is none
     * @param claims the claims that conditions compare, with {@code roles}
     */
    public record Subject(String id, SubjectKind kind, String domain, Map<String, ?> claims) {

        /** Checks that there is an id. */
        public Subject {
            Objects.requireNonNull(id, "id");
            Objects.requireNonNull(kind, "kind");
            claims = Map.copyOf(claims);
        }
    }

    /**
     * Takes the API and what is believed of requests.
     *
     * @param client returns the client; asked for with the first check
     * @param callers reads the callers that the mesh sends
     */
    public Enforcer(Supplier<ExtauthzClient> client, CallerReader callers) {
        this.client = Objects.requireNonNull(client, "client");
        this.callers = Objects.requireNonNull(callers, "callers");
    }

    /**
     * Decides about a request; the caller's own token is asked about.
     *
     * @param headers returns the values of a header by its name, an empty list where it is not there
     * @param declared what the endpoint declares; null is denied
     * @param parameters the path parameters, decoded
     * @return the verdict
     */
    public Verdict enforce(
            Function<String, List<String>> headers, Declaration declared, Map<String, String> parameters) {
        return enforce(headers, declared, parameters, Optional::empty);
    }

    /**
     * Decides about a request.
     *
     * @param headers returns the values of a header by its name, an empty list where it is not there
     * @param declared what the endpoint declares; null is denied
     * @param parameters the path parameters, decoded
     * @param subject returns the subject that the service key asks about, where the request has no token
     * @return the verdict
     */
    public Verdict enforce(
            Function<String, List<String>> headers,
            Declaration declared,
            Map<String, String> parameters,
            Supplier<Optional<Subject>> subject) {
        try {
            Optional<Caller> caller = callers.read(headers);
            if (caller.isPresent()) {
                return Verdict.allowed("mesh", null, caller.get());
            }
        } catch (UnreachableException error) {
            return Verdict.denied(503, "keys_unavailable", error.getMessage());
        }
        if (declared == null) {
            return Verdict.denied(403, "unmapped_route", "the endpoint declares no @Resource");
        }
        // Under the names that the mesh has: a deny of a condition has to match here as it does there.
        Map<String, String> named = new LinkedHashMap<>();
        for (Map.Entry<String, String> parameter : parameters.entrySet()) {
            String name = MappedPath.parameterName(parameter.getKey());
            if (NOT_ASKABLE.contains(name) || named.putIfAbsent(name, parameter.getValue()) != null) {
                return Verdict.denied(403, "condition_unknown",
                        "no check can be asked with a path variable '" + parameter.getKey() + "'; name it otherwise");
            }
        }
        List<String> credentials = headers.apply("authorization");
        if (credentials.size() > 1) {
            return Verdict.denied(401, "credentials_conflict", "the request has two Authorization headers");
        }
        CheckRequest.Builder request = CheckRequest.builder(declared.name(), declared.effectiveAction());
        if (!named.isEmpty()) {
            request.attributes("resource", named);
        }
        if (credentials.isEmpty()) {
            return withoutToken(request, subject);
        }
        String token = token(credentials.get(0));
        return token == null
                ? Verdict.denied(401, "token_malformed", "the Authorization header is not 'Bearer' with a token")
                : asked(() -> client.get().checkAs(token, request.build()), true);
    }

    private Verdict withoutToken(CheckRequest.Builder request, Supplier<Optional<Subject>> subject) {
        Optional<Subject> known;
        try {
            known = subject.get();
        } catch (RuntimeException error) {
            return Verdict.denied(503, "internal_error", "the subject is not known: " + error.getClass().getName());
        }
        return known.map(each -> asked(() -> client.get().check(about(request, each)), false))
                .orElseGet(() -> Verdict.denied(401, "token_missing", "the request has no credential"));
    }

    private static CheckRequest about(CheckRequest.Builder request, Subject subject) {
        request.subject(subject.id(), subject.kind()).domain(subject.domain());
        if (!subject.claims().isEmpty()) {
            request.attributes("user", subject.claims());
        }
        return request.build();
    }

    private static Verdict asked(Supplier<CheckResult> check, boolean isOfCaller) {
        try {
            CheckResult result = check.get();
            return result.allowed()
                    ? Verdict.allowed(result.reason(), result.decisionId(), null)
                    : new Verdict(403, result.reason(), result.message(), result.decisionId(), null);
        } catch (IllegalArgumentException error) {
            return Verdict.denied(401, "token_malformed", "the credential is not a token");
        } catch (ApiException error) {
            // A refused credential of the application itself says nothing about the caller.
            if (isOfCaller && error.status() == 401) {
                return Verdict.denied(401, error.reason() == null ? "token_claims_invalid" : error.reason(), error.summary());
            }
            if (isOfCaller && error.status() == 403) {
                return Verdict.denied(403, error.reason() == null ? "no_matching_rule" : error.reason(), error.summary());
            }
            return Verdict.denied(503, "not_ready", "extauthz refused the check: " + error.getMessage());
        } catch (ExtauthzException error) {
            return Verdict.denied(503, "not_ready", "the check failed: " + error.getMessage());
        } catch (RuntimeException error) {
            // Of whatever else went wrong only the kind is known to be without a secret.
            return Verdict.denied(503, "internal_error", "the check failed: " + error.getClass().getName());
        }
    }

    /** Returns the token of {@code Bearer}; null for another scheme or form. */
    private static String token(String header) {
        String[] parts = header.strip().split(" +", 2);
        return parts.length == 2 && parts[0].toLowerCase(Locale.ROOT).equals("bearer") ? parts[1] : null;
    }
}
