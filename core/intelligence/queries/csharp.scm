(class_declaration) @class
(record_declaration) @class
(struct_declaration) @struct
(interface_declaration) @interface
(enum_declaration) @enum
(delegate_declaration) @type
(namespace_declaration) @module
(file_scoped_namespace_declaration) @module

(method_declaration body: (_)) @method
(method_declaration !body) @method.signature
(constructor_declaration) @method
(destructor_declaration) @method
(operator_declaration operator: _ @name) @method
(local_function_statement) @function

(field_declaration
  (modifier "const")
  (variable_declaration (variable_declarator) @constant))

(using_directive name: (_) "=" . (_) @import)
(using_directive !name [(identifier) (qualified_name) (alias_qualified_name)] @import)

["if" "for" "foreach" "while" "case" "catch" "&&" "||" "??" "??="] @decision
(conditional_expression) @decision
(switch_expression_arm "=>" @decision)
(switch_expression_arm . (discard) . "=>" @decision.not)
(goto_statement "case" @decision.not)
(preproc_if condition: (_) @decision.none_within)
(preproc_elif condition: (_) @decision.none_within)

(comment) @comment
