package io.extauthz.quarkus.runtime;

import io.extauthz.declare.Endpoint;
import io.extauthz.declare.Precedence;
import java.util.ArrayList;
import java.util.Collection;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.jboss.resteasy.reactive.server.mapping.URITemplate;

/**
 * Which of two endpoints Quarkus REST takes for a path that both match.
 *
 * <p>It chooses among the classes, then among the methods and locators of the class, then below the locator:
 * first the longest literal beginning that the request has, then the template with more literal characters,
 * more variables and more variables with an expression of their own. Of one template, the method goes before
 * the locator.
 */
final class JaxRsPrecedence implements Precedence {

    private final Map<Endpoint, List<URITemplate>> templates = new HashMap<>();

    JaxRsPrecedence(Collection<ScannedEndpoint> endpoints) {
        for (ScannedEndpoint each : endpoints) {
            List<URITemplate> parsed = new ArrayList<>();
            for (String text : each.templates()) {
                boolean method = parsed.size() == each.templates().size() - 1;
                parsed.add(new URITemplate(text.isEmpty() ? "/" : text, !method));
            }
            templates.put(each.endpoint(), parsed);
        }
    }

    @Override
    public int compare(Endpoint first, Endpoint second) {
        List<URITemplate> one = templates.getOrDefault(first, List.of());
        List<URITemplate> other = templates.getOrDefault(second, List.of());
        for (int i = 0; i < Math.min(one.size(), other.size()); i++) {
            if (!one.get(i).template.equals(other.get(i).template)) {
                return compare(one.get(i), other.get(i));
            }
        }
        return Integer.compare(one.size(), other.size());
    }

    private static int compare(URITemplate first, URITemplate second) {
        int stem = Integer.compare(second.stem.length(), first.stem.length());
        return stem != 0 ? stem : second.compareTo(first);
    }
}
