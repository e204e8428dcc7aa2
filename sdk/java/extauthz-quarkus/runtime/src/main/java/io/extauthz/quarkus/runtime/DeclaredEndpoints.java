package io.extauthz.quarkus.runtime;

import io.extauthz.declare.Declaration;
import io.extauthz.declare.Declarations;
import io.extauthz.declare.Declared;
import io.extauthz.declare.Endpoint;
import io.extauthz.declare.Options;
import jakarta.inject.Singleton;
import java.util.HashMap;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.Set;

/** The endpoints of the application, as the build saw them. */
@Singleton
public class DeclaredEndpoints {

    private List<ScannedEndpoint> scanned = List.of();
    private final Map<String, Declaration> byKey = new HashMap<>();

    /** Begins without endpoints. */
    public DeclaredEndpoints() { }

    /**
     * Takes what the build found; called once, before the application starts.
     *
     * @param found every endpoint
     */
    public void set(List<ScannedEndpoint> found) {
        scanned = List.copyOf(found);
        byKey.clear();
        Set<String> contradicted = new HashSet<>();
        for (ScannedEndpoint each : scanned) {
            Declaration own = each.declared();
            if (byKey.containsKey(each.key()) && !Objects.equals(byKey.get(each.key()), own)) {
                contradicted.add(each.key());
            }
            byKey.put(each.key(), own);
        }
        // A method that declares one thing by one locator and another by another one declares nothing.
        contradicted.forEach(byKey::remove);
    }

    /**
     * Returns what is declared.
     *
     * @param serviceName the name of the service
     * @param host the host of every route; null for every host
     * @param prefix what the mesh sees before the application's paths
     * @return resources and problems
     */
    public Declared declared(String serviceName, String host, String prefix) {
        List<Endpoint> endpoints = scanned.stream().map(ScannedEndpoint::endpoint).toList();
        return Declarations.collect(
                endpoints, serviceName, new Options(host, prefix, new JaxRsPrecedence(scanned)));
    }

    /**
     * Tells whether an endpoint declares a resource.
     *
     * @return whether there is one
     */
    public boolean any() {
        return scanned.stream().anyMatch(each -> each.declared() != null);
    }

    /** Returns what the method of a request declares, null for nothing. */
    Declaration of(String key) {
        return byKey.get(key);
    }
}
