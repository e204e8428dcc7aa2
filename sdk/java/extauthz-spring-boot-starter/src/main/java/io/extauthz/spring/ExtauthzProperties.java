package io.extauthz.spring;

import java.net.URI;
import java.time.Duration;
import java.util.List;
import org.springframework.boot.context.properties.ConfigurationProperties;
import org.springframework.boot.context.properties.bind.DefaultValue;

/**
 * The settings of the starter. Credentials are not among them: they come from the environment.
 *
 * @param enabled whether the starter does anything
 * @param url the base address of the REST API of extauthz, without a path (EXTAUTHZ_URL)
 * @param serviceName the service that the resources belong to; the name of the application where it is not set
 * @param host the host of every route; routes of whatever host where it is not set
 * @param prefix the path that the mesh sees before the paths of the application, where a proxy strips it
 * @param problems what happens with declarations that cannot be registered
 * @param registration the registration at start
 * @param directCalls what happens with calls that did not come through the mesh
 * @param directCallsPermit patterns of paths whose direct calls are always served, such as /healthz/**
 * @param trustHeaders whether x-auth-* headers are believed without an assertion: only where nothing but the
 *     mesh reaches the application
 * @param assertion how assertions of the mesh are verified
 * @param timeout how long one attempt of a call to the API may take
 * @param attempts how often a call to the API is tried in all
 */
@ConfigurationProperties("extauthz")
public record ExtauthzProperties(
        @DefaultValue("true") boolean enabled,
        URI url,
        String serviceName,
        String host,
        @DefaultValue("") String prefix,
        @DefaultValue("warn") ProblemHandling problems,
        @DefaultValue Registration registration,
        @DefaultValue("allow") DirectCalls directCalls,
        @DefaultValue List<String> directCallsPermit,
        @DefaultValue("false") boolean trustHeaders,
        @DefaultValue Assertion assertion,
        @DefaultValue("10s") Duration timeout,
        @DefaultValue("4") int attempts) {

    /**
     * The registration at start.
     *
     * @param enabled whether resources are registered
     * @param required whether the application starts only with its resources registered
     * @param timeout how long a required registration may take while extauthz is away
     */
    public record Registration(
            @DefaultValue("true") boolean enabled,
            @DefaultValue("false") boolean required,
            @DefaultValue("30s") Duration timeout) { }

    /**
     * How assertions of the mesh are verified.
     *
     * @param issuer ASSERTION_ISSUER of extauthz; assertions are not verified where it is not set
     * @param keysUrl where the keys are published; /.well-known/jwks.json of the API where it is not set
     * @param leeway how far the clocks may differ
     */
    public record Assertion(String issuer, URI keysUrl, @DefaultValue("5s") Duration leeway) { }
}
