package io.extauthz.quarkus.runtime;

import io.extauthz.client.AssertionVerifier;
import io.extauthz.client.ExtauthzClient;
import io.extauthz.client.UnreachableException;
import io.extauthz.declare.Caller;
import io.extauthz.declare.CallerReader;
import io.extauthz.declare.Declaration;
import io.extauthz.declare.Enforcer;
import io.extauthz.declare.Verdict;
import io.extauthz.quarkus.runtime.ExtauthzConfig.DirectCalls;
import io.quarkus.runtime.configuration.ConfigurationException;
import jakarta.annotation.PreDestroy;
import jakarta.enterprise.inject.Instance;
import jakarta.inject.Singleton;
import java.net.URI;
import java.nio.file.Path;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Function;

/** Which requests the application handles, and who the caller is, by its settings. */
@Singleton
public class Admission {

    private final DirectCalls directCalls;
    private final AssertionVerifier verifier;
    private final CallerReader reader;
    private final Enforcer enforcer;

    /**
     * Takes the settings.
     *
     * @param settings the settings
     * @param client the client, which is made only where the application asks
     */
    public Admission(ExtauthzConfig settings, Instance<ExtauthzClient> client) {
        directCalls = settings.directCalls();
        verifier = verifier(settings);
        if (verifier != null) {
            reader = CallerReader.ofAssertions(verifier);
        } else {
            reader = settings.trustHeaders() ? CallerReader.ofTrustedHeaders() : CallerReader.none();
        }
        if (directCalls != DirectCalls.ALLOW && verifier == null && settings.trustHeaders()) {
            throw new ConfigurationException("extauthz.direct-calls=" + word() + " is for applications that calls reach"
                    + " without the mesh, and extauthz.trust-headers=true is for those that none reaches so; set"
                    + " extauthz.assertion.issuer, or remove one of them");
        }
        if (directCalls == DirectCalls.REJECT && verifier == null) {
            throw new ConfigurationException("extauthz.direct-calls=reject needs the assertion that tells calls of the"
                    + " mesh from others; set extauthz.assertion.issuer");
        }
        enforcer = new Enforcer(client::get, reader);
    }

    private String word() {
        return directCalls.name().toLowerCase(Locale.ROOT);
    }

    /** Tells whether there is nothing to decide and nothing to read. */
    boolean isOff() {
        return directCalls == DirectCalls.ALLOW && !reader.canRead();
    }

    /** Tells whether deciding can wait for an answer of another server. */
    boolean canWait() {
        return asks() || verifier != null;
    }

    /** Tells whether what the endpoint declares is needed. */
    boolean asks() {
        return directCalls == DirectCalls.CHECK;
    }

    Verdict admit(Function<String, List<String>> headers, Declaration declared, Map<String, String> parameters) {
        if (asks()) {
            return enforcer.enforce(headers, declared, parameters);
        }
        Caller caller;
        try {
            caller = reader.read(headers).orElse(null);
        } catch (UnreachableException error) {
            return denied(503, "keys_unavailable", error.getMessage());
        }
        return caller == null && directCalls == DirectCalls.REJECT
                ? denied(401, "token_missing", "the request did not come through the mesh")
                : new Verdict(200, "mesh", "", null, caller);
    }

    static Verdict denied(int status, String reason, String message) {
        return new Verdict(status, reason, message, null, null);
    }

    @PreDestroy
    void close() {
        if (verifier != null) {
            verifier.close();
        }
    }

    private static AssertionVerifier verifier(ExtauthzConfig settings) {
        String issuer = settings.assertion().issuer().orElse(null);
        if (issuer == null) {
            return null;
        }
        String keysUrl = settings.assertion().keysUrl()
                .or(() -> settings.url().map(url -> url.replaceAll("/+$", "") + "/.well-known/jwks.json"))
                .orElseThrow(() -> new ConfigurationException("extauthz.assertion.issuer is set without the place of"
                        + " its keys; set extauthz.assertion.keys-url or extauthz.url"));
        try {
            return AssertionVerifier.builder(URI.create(keysUrl), issuer, settings.serviceName())
                    .leeway(settings.assertion().leeway())
                    .caCertificates(settings.credentials().caFile().map(Path::of).orElse(null))
                    .build();
        } catch (IllegalArgumentException error) {
            throw new ConfigurationException("extauthz.assertion: " + error.getMessage(), error);
        }
    }
}
