package io.extauthz.spring;

import io.extauthz.declare.Endpoint;
import io.extauthz.declare.Precedence;
import java.util.IdentityHashMap;
import java.util.Map;
import java.util.Set;
import org.springframework.web.bind.annotation.RequestMethod;
import org.springframework.web.servlet.mvc.method.RequestMappingInfo;
import org.springframework.web.util.pattern.PathPattern;

/**
 * The order of {@link RequestMappingInfo#compareTo}: the more specific path, then the conditions, then the
 * methods. Two mappings that it finds equal are an error of Spring MVC, and neither gets the request.
 */
final class MvcPrecedence implements Precedence {

    private final Map<Endpoint, Mapped> mapped = new IdentityHashMap<>();

    private record Mapped(Object mapping, RequestMappingInfo info, PathPattern pattern) {

        private Set<RequestMethod> methods() {
            return info.getMethodsCondition().getMethods();
        }
    }

    void add(Endpoint endpoint, Object mapping, RequestMappingInfo info, PathPattern pattern) {
        mapped.put(endpoint, new Mapped(mapping, info, pattern));
    }

    /** Tells whether a mapping takes only some of the requests of its paths and methods. */
    static boolean isConditional(RequestMappingInfo info) {
        return !info.getParamsCondition().isEmpty()
                || !info.getHeadersCondition().isEmpty()
                || !info.getConsumesCondition().isEmpty()
                || !info.getProducesCondition().isEmpty()
                || !info.getVersionCondition().isEmpty()
                || info.getCustomCondition() != null;
    }

    @Override
    public int compare(Endpoint first, Endpoint second) {
        Mapped one = mapped.get(first);
        Mapped other = mapped.get(second);
        // Of several mappings one is asked after the other: their order is not looked at.
        if (one == null || other == null || one.mapping() != other.mapping() || one.pattern() == null || other.pattern() == null) {
            return 0;
        }
        if (goesFirstForHead(other, one) || goesFirstForHead(one, other)) {
            return 0;
        }
        int byPath = PathPattern.SPECIFICITY_COMPARATOR.compare(one.pattern(), other.pattern());
        if (byPath != 0) {
            return byPath;
        }
        boolean several = one.info().getPatternValues().size() > 1 || other.info().getPatternValues().size() > 1;
        boolean conditional = isConditional(one.info()) || isConditional(other.info());
        if (several || conditional && !sameConditions(first, second)) {
            return 0;
        }
        return one.methods().isEmpty() && !other.methods().isEmpty() ? 1 : -1;
    }

    /** For HEAD the methods are compared before the paths: one that names HEAD, or at least GET, goes first. */
    private static boolean goesFirstForHead(Mapped one, Mapped other) {
        if (one.methods().contains(RequestMethod.HEAD)) {
            return !other.methods().contains(RequestMethod.HEAD)
                    && (other.methods().isEmpty() || other.methods().contains(RequestMethod.GET));
        }
        return one.methods().contains(RequestMethod.GET) && other.methods().isEmpty();
    }

    @Override
    public boolean sameConditions(Endpoint first, Endpoint second) {
        Mapped one = mapped.get(first);
        Mapped other = mapped.get(second);
        return one != null
                && other != null
                && one.info().getParamsCondition().equals(other.info().getParamsCondition())
                && one.info().getHeadersCondition().equals(other.info().getHeadersCondition())
                && one.info().getConsumesCondition().equals(other.info().getConsumesCondition())
                && one.info().getProducesCondition().equals(other.info().getProducesCondition())
                && one.info().getVersionCondition().equals(other.info().getVersionCondition())
                && one.info().getCustomCondition() == null
                && other.info().getCustomCondition() == null;
    }
}
