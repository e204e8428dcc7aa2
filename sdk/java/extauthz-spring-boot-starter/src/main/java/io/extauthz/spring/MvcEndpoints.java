package io.extauthz.spring;

import io.extauthz.declare.Declaration;
import io.extauthz.declare.DeclarationProblem;
import io.extauthz.declare.Declarations;
import io.extauthz.declare.Declared;
import io.extauthz.declare.Endpoint;
import io.extauthz.declare.Options;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import java.util.stream.Collectors;
import org.springframework.boot.webmvc.error.ErrorController;
import org.springframework.web.method.HandlerMethod;
import org.springframework.web.servlet.function.support.RouterFunctionMapping;
import org.springframework.web.servlet.mvc.method.RequestMappingInfo;
import org.springframework.web.servlet.mvc.method.RequestMappingInfoHandlerMapping;
import org.springframework.web.util.pattern.PathPattern;

/**
 * Reads the endpoints of the application from the mappings that Spring MVC dispatches by: controllers, endpoints
 * of Actuator on the same port, and functional routes. The last two declare nothing.
 */
final class MvcEndpoints {

    private final List<? extends RequestMappingInfoHandlerMapping> mappings;
    private final List<RouterFunctionMapping> functions;
    private final HandlerDeclarations declarations;
    private final MvcPrecedence precedence = new MvcPrecedence();
    private final List<Endpoint> endpoints = new ArrayList<>();
    private final List<DeclarationProblem> problems = new ArrayList<>();

    MvcEndpoints(
            List<? extends RequestMappingInfoHandlerMapping> mappings,
            List<RouterFunctionMapping> functions,
            HandlerDeclarations declarations) {
        this.mappings = mappings;
        this.functions = functions;
        this.declarations = declarations;
    }

    /** Returns what the endpoints declare, with a prefix before each path. */
    Declared declared(String serviceName, String host, String prefix) {
        boolean ignoreCase = false;
        for (RequestMappingInfoHandlerMapping mapping : mappings) {
            mapping.getHandlerMethods().forEach((info, handler) -> add(mapping, info, handler));
            ignoreCase |= mapping.getPatternParser() != null && !mapping.getPatternParser().isCaseSensitive();
        }
        for (RouterFunctionMapping mapping : functions) {
            if (mapping.getRouterFunction() != null) {
                endpoints.addAll(FunctionalEndpoints.of(mapping.getRouterFunction()));
            }
        }
        Declared declared = Declarations.collect(
                endpoints, serviceName, new Options(host, prefix, precedence, ignoreCase));
        var all = new ArrayList<>(problems);
        all.addAll(declared.problems());
        return new Declared(declared.resources(), all, declared.endpoints());
    }

    private void add(RequestMappingInfoHandlerMapping mapping, RequestMappingInfo info, HandlerMethod handler) {
        HandlerDeclarations.Found found = declarations.of(handler);
        // The error page is dispatched to by the container; a client gains nothing by asking for it.
        if (found.declaration().isEmpty() && ErrorController.class.isAssignableFrom(handler.getBeanType())) {
            return;
        }
        boolean first = true;
        for (String path : info.getPatternValues()) {
            Endpoint endpoint = add(
                    mapping, info, handler, found.declaration().orElse(null), path, pattern(info, path));
            if (first && found.conflict().isPresent()) {
                problems.add(new DeclarationProblem(
                        endpoint, endpoint.shown() + " is not registered: " + found.conflict().get()));
            }
            first = false;
            if (path.endsWith("/*")) {
                // Spring's last `*` matches an empty segment, too.
                add(mapping, info, handler, found.declaration().orElse(null),
                        path.substring(0, path.length() - 1), pattern(info, path));
            }
        }
    }

    private Endpoint add(
            RequestMappingInfoHandlerMapping mapping,
            RequestMappingInfo info,
            HandlerMethod handler,
            Declaration declaration,
            String path,
            PathPattern pattern) {
        Set<String> methods = info.getMethodsCondition().getMethods().stream()
                .map(Enum::name)
                .collect(Collectors.toSet());
        Endpoint endpoint = new Endpoint(
                handler.getBeanType().getName(),
                handler.getMethod().getName(),
                methods,
                path,
                declaration,
                MvcPrecedence.isConditional(info));
        precedence.add(endpoint, mapping, info, pattern);
        endpoints.add(endpoint);
        return endpoint;
    }

    private static PathPattern pattern(RequestMappingInfo info, String path) {
        if (info.getPathPatternsCondition() == null) {
            return null;
        }
        return info.getPathPatternsCondition().getPatterns().stream()
                .filter(each -> each.getPatternString().equals(path))
                .findFirst()
                .orElse(null);
    }
}
